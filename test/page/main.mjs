// Looks at the page of a real host, with real plugins, in Debian's Chromium: what is seen, by whom, and what a browser makes of it.
// `node main.mjs [--screenshots FOLDER]`; prints one line for each scenario, and a summary last.
import { Browser } from "./browser.mjs";
import { Host } from "./host.mjs";
import { scenarios } from "./scenarios.mjs";
import { screenshots, Shown } from "./screenshots.mjs";

const folder = process.argv[2] === "--screenshots" ? process.argv[3] : undefined;
const host = await (folder ? Shown : Host).start();
const browser = await Browser.start(host.url);
let failed = 0, done = 0;
try {
  await host.ready();
  if (folder) {
    await screenshots(host, browser, folder);
    done = 1;
  } else {
    for (const [name, run] of Object.entries(scenarios)) {
      const began = Date.now();
      try {
        await run(host, browser);
        console.log(`ok      ${name} (${Date.now() - began} ms)`);
      } catch (problem) {
        failed++;
        console.log(`FAILED  ${name}: ${problem.stack}`);
      }
      done++;
      await browser.forget();
    }
  }
} finally {
  await browser.stop();
  await host.stop();
}
console.log(failed ? `page: ${done} scenarios, ${failed} failed` : `page ok: ${done} scenarios, 0 failed`);
process.exit(failed ? 1 : 0);
