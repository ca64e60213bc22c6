// A browser with one page, and what every test watches.
import assert from "node:assert/strict";
import { accessSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";

const cache = process.env.BYGONE_CACHE ?? join(homedir(), ".cache/bygone-test");
const { chromium } = createRequire(join(cache, "browser/"))("playwright-core");

const executable = () => {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const names = ["chromium", "chromium-browser", "google-chrome"];
  const all = names.flatMap((name) => folders.map((folder) => join(folder, name)));
  const found = all.find((path) => {
    try {
      accessSync(path);
      return true;
    } catch {
      return false;
    }
  });
  assert.ok(found, "no Chromium on PATH: run scripts/get-browser");
  return found;
};

export const open = async () =>
  chromium.launch({
    executablePath: executable(),
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });

// A page that fails the test by what it says to the console, by an error of its script, and by a request elsewhere.
export const watched = async (browser, options = {}) => {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    // What the server refuses on purpose is logged by the browser, too.
    if (message.type() === "error" && !/status of 4\d\d/.test(message.text())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.origin !== new URL(process.env.BYGONE_URL).origin) complaints.push(`request to ${url}`);
  });
  page.setDefaultTimeout(60_000);
  return { context, page, complaints };
};

export const shot = async (page, name) => {
  if (!process.env.BYGONE_SHOTS) return;
  const path = join(process.env.BYGONE_SHOTS, `${name}.png`);
  // To hide the caret it would put a style into the page, which the page's policy refuses.
  await page.screenshot({ path, fullPage: true, caret: "initial" });
};
