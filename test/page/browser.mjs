// Debian's Chromium, which is watched: whom it asks, and what it complains of.
import assert from "node:assert/strict";
import axe from "axe-core";
import { chromium } from "playwright-core";

export class Browser {
  static async start(url) {
    const browser = new Browser();
    browser.url = url;
    browser.hosts = new Set();
    browser.asked = new Set();
    browser.complaints = [];
    browser.contexts = [];
    browser.program = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: process.getuid() === 0 ? ["--no-sandbox"] : [] });
    return browser;
  }

  // page opens a page of a host in a browser that nobody has logged in with.
  async page(at = "/", options = {}, url = this.url) {
    this.hosts.add(url);
    const context = await this.program.newContext({ viewport: { width: 1280, height: 900 }, bypassCSP: false, ...options });
    this.contexts.push(context);
    const page = await context.newPage();
    page.on("request", (request) => this.asked.add(new URL(request.url()).origin));
    page.on("console", (message) => {
      // A status that a scenario asks for is no fault of the page.
      if (message.type() === "error" && !/status of 40[134]/.test(message.text())) this.complaints.push(message.text());
    });
    page.on("pageerror", (error) => this.complaints.push(String(error)));
    await page.goto(url + at);
    return page;
  }

  // audit has axe look at a page, by a script that the page itself would not run.
  async audit(page, what) {
    const frame = page.mainFrame();
    await frame.evaluate(axe.source + "; 0");
    const { violations } = await frame.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
    assert.deepEqual(violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.target.join(" ")).join(", ")}`), [], what);
  }

  // forget closes what a scenario has opened.
  async forget() {
    await Promise.all(this.contexts.splice(0).map((context) => context.close()));
  }

  async stop() { await this.program.close(); }
}
