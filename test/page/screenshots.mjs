// The pictures in docs/.
import path from "node:path";

export async function screenshots(host, browser, folder) {
  for (const [name, at, options] of [["page-overview", "/", {}], ["page-dark", "/", { colorScheme: "dark" }], ["page-plugin", "/ui/plugins/hello", {}]]) {
    const page = await browser.page(at, { viewport: { width: 1120, height: 760 }, ...options });
    await page.locator("#connection").filter({ hasText: /^live$/ }).waitFor();
    await page.screenshot({ path: path.join(folder, `${name}.png`) });
  }
}
