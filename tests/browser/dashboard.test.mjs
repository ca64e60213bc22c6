// The dashboard in a real browser, over a real server and real replica sets: from the first link to Terminate. The steps
// stand on each other, and run in their order.
//
//   BYGONE_URL      the server          BYGONE_WELCOME  the owner's one-time link
//   BYGONE_SOURCE   a replica set with a collection shop.orders    BYGONE_TARGET  an empty server
//   BYGONE_SECOND   where another store can be
//   BYGONE_SHOTS    a folder for pictures, if they are wanted
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { open, shot, watched } from "./page.mjs";

const url = process.env.BYGONE_URL;
const password = "correct horse battery";
let browser, page, context, complaints;

before(async () => {
  browser = await open();
  ({ page, context, complaints } = await watched(browser, { viewport: { width: 1280, height: 900 } }));
});

after(async () => {
  await browser?.close();
});

const step = (name, body) =>
  test(name, async () => {
    complaints.length = 0;
    await body();
    assert.deepEqual(complaints, []);
  });

const badge = (word) => page.locator("h1 .badge", { hasText: word });

// Nothing is wider than the screen.
const fits = async (where) => {
  const wide = await page.evaluate(() => {
    const most = document.documentElement.clientWidth;
    const beyond = [...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > most + 1);
    return document.documentElement.scrollWidth > most ? beyond.slice(0, 3).map((e) => e.outerHTML.slice(0, 120)) : [];
  });
  assert.deepEqual(wide, [], where);
};

step("the one-time link leads to a password and the overview", async () => {
  await page.goto(process.env.BYGONE_WELCOME);
  await shot(page, "welcome");
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByLabel("Once more").fill(password);
  await page.getByRole("button", { name: "Choose the password" }).click();
  await page.getByRole("heading", { name: "Continuous backup" }).waitFor();
  await shot(page, "overview-empty");
});

step("one logs out and in by keyboard alone", async () => {
  await page.getByRole("button", { name: "Log out" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Log in" }).waitFor();
  await shot(page, "login");
  await page.keyboard.type("owner");
  await page.keyboard.press("Tab");
  await page.keyboard.type(password);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Continuous backup" }).waitFor();
  // The first stop of every page leads to its content.
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "To the content");
});

step("a job is made, with a preview of what will be kept, and started", async () => {
  await page.getByRole("link", { name: "New backup job" }).click();
  await page.getByLabel("Name", { exact: true }).fill("prod");
  await page.getByLabel("Connection string").fill(process.env.BYGONE_SOURCE);
  await page.locator("[data-preview]").getByText(/: 8 of the last 2 d/).waitFor();
  await page.getByLabel("One a day, for days").fill("7");
  await page.locator("[data-preview]").getByText(/: 8 of the last 2 d, \d daily/).waitFor();
  await shot(page, "new-job");
  await page.getByRole("button", { name: "Create and start" }).click();
  await badge("Active").waitFor({ timeout: 180_000 });
});

step("the first snapshot appears by itself, and one on demand after it", async () => {
  await page.locator("svg[data-timeline] line.snap").first().waitFor({ state: "attached", timeout: 120_000 });
  await page.getByRole("button", { name: "Snapshot now" }).click();
  await page.getByText("A snapshot was asked for").waitFor();
  await page.locator("table tbody tr").nth(1).waitFor({ timeout: 120_000 });
  await shot(page, "job");
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByText("Everything is backed up").waitFor();
  await shot(page, "overview");
});

step("the schedule is changed", async () => {
  await page.getByRole("link", { name: "prod" }).click();
  await page.locator("dt", { hasText: "Schedule" }).getByRole("link").click();
  await page.getByLabel("Every", { exact: true }).fill("1");
  await page.locator("[data-preview]").getByText("48 of the last 2 d").waitFor();
  await shot(page, "schedule");
  await page.getByRole("button", { name: "Save the schedule" }).click();
  await page.getByText("every 1 h from 00:00 UTC").waitFor();
});

step("a snapshot is kept for ever", async () => {
  await page.locator("table tbody tr").first().getByRole("button", { name: "Keep" }).click();
  await page.getByText("The snapshot is kept for ever.").waitFor();
  await shot(page, "snapshot");
  await page.getByRole("link", { name: "back to the job" }).click();
});

step("a click into the timeline begins a restore of that second", async () => {
  const bar = page.locator("svg[data-timeline] rect.range").last();
  const box = await page.locator("svg[data-timeline]").boundingBox();
  const range = await bar.boundingBox();
  await page.mouse.click(range.x + range.width / 2, box.y + 30);
  await page.getByRole("heading", { name: "Restore prod" }).waitFor();
  // A tick may lie under the pointer.
  const chosen = await page.locator("input[name=pick]:checked").inputValue();
  assert.ok(["instant", "snapshot"].includes(chosen), chosen);
});

step("a restore into another server is checked, confirmed by typing, done and proven", async () => {
  await page.getByLabel("The newest stored moment").check();
  await page.getByLabel("Into a running server").check();
  await page.getByLabel("Connection string").fill(process.env.BYGONE_TARGET);
  await shot(page, "restore");
  await page.getByRole("button", { name: "See what would be done" }).click();
  await page.getByLabel("Type prod to go on").waitFor();
  await page.locator("pre").waitFor();
  // The moment itself, which is what will be restored.
  await page.getByText(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC/).first().waitFor();
  await shot(page, "restore-confirm");
  await page.getByRole("button", { name: "Restore", exact: true }).click();
  await page.getByText("to go on, type prod").waitFor();
  await page.getByLabel("Type prod to go on").fill("prod");
  await page.getByRole("button", { name: "Restore", exact: true }).click();
  await badge("Finished").waitFor({ timeout: 120_000 });
  await page.getByRole("heading", { name: "Proof" }).waitFor();
  await shot(page, "restore-done");
});

step("a download is asked for, fetched in two parts, and its link is used up", async () => {
  await page.getByRole("link", { name: "the job" }).click();
  await page.getByRole("link", { name: "Restore", exact: true }).first().click();
  await page.getByLabel("A download").check();
  await page.getByLabel("What it holds").selectOption("tar");
  await page.getByRole("button", { name: "See what would be done" }).click();
  await page.getByLabel("Type prod to go on").fill("prod");
  await page.getByRole("button", { name: "Restore", exact: true }).click();
  const link = await page.locator(".secret").textContent();
  await shot(page, "download");
  await badge("Finished").waitFor({ timeout: 120_000 });
  const get = (range) => context.request.get(link, range ? { headers: { range } } : {});
  const first = await get("bytes=0-99");
  assert.equal(first.status(), 206);
  const rest = await get("bytes=100-");
  const whole = Buffer.concat([await first.body(), await rest.body()]);
  assert.equal(whole.readUInt16BE(0), 0x1f8b, "gzip");
  assert.equal((await get()).status(), 404);
});

step("stores, events, users, keys and settings are there", async () => {
  for (const name of ["Stores", "Users", "API keys", "Settings", "All events", "All alerts", "Projects"]) {
    await page.getByRole("link", { name, exact: true }).click();
    await page.locator(".wide a[aria-current=page]", { hasText: name }).waitFor();
    await shot(page, name.toLowerCase().replace(" ", "-"));
  }
  await page.getByRole("link", { name: "Default" }).click();
  await page.getByRole("link", { name: "Agents and keys" }).click();
  await page.getByLabel("What it is for").first().fill("host a");
  await page.getByRole("button", { name: "Make an agent key" }).click();
  await page.getByText("It is shown this once").waitFor();
  await shot(page, "keys");
  await page.getByRole("link", { name: "Restores" }).click();
  await shot(page, "restores");
});

// Until a page that does not refresh itself shows it.
const shows = async (text) => {
  const end = Date.now() + 90_000;
  while (!(await page.getByText(text).count())) {
    assert.ok(Date.now() < end, `waited in vain for ${text}`);
    await page.reload();
  }
};

step("settings that are wrong come back as they were typed", async () => {
  await page.getByRole("link", { name: "Settings", exact: true }).click();
  const full = page.getByLabel("when a store is full to so many percent");
  await full.fill("0");
  await page.getByRole("button", { name: "Save the settings" }).click();
  await page.getByText("store_full_percent is 1 to 100").waitFor();
  assert.equal(await full.inputValue(), "0");
  await page.getByRole("link", { name: "Stores", exact: true }).waitFor();
  await shot(page, "settings-wrong");
  await full.fill("1");
  await page.getByRole("button", { name: "Save the settings" }).click();
  await page.getByText("The settings were saved.").waitFor();
});

step("an alert is acknowledged", async () => {
  await page.getByRole("link", { name: "All alerts" }).click();
  await shows("Store nearly full");
  await page.locator("summary", { hasText: "Acknowledge" }).first().click();
  await page.getByLabel("because").first().fill("it is a test");
  await shot(page, "alerts-open");
  await page.getByRole("button", { name: "Acknowledge" }).first().click();
  await page.getByText("The alert is acknowledged.").waitFor();
  await page.getByText(/owner knows, until .* UTC: it is a test/).waitFor();
  await page.getByRole("link", { name: "Settings", exact: true }).click();
  await page.getByLabel("when a store is full to so many percent").fill("99");
  await page.getByRole("button", { name: "Save the settings" }).click();
  await page.getByRole("link", { name: "All alerts" }).click();
  await shows("Nothing is wrong now.");
});

step("somebody is invited for one project, and comes in by the link", async () => {
  await page.getByRole("link", { name: "Users", exact: true }).click();
  await page.getByLabel("Name to log in with").fill("reader");
  await page.getByLabel("Role 1", { exact: true }).selectOption("Project Read Only");
  await page.getByRole("button", { name: "Make the user and a link" }).click();
  await page.getByText("is a role in one project").waitFor();
  assert.equal(await page.getByLabel("Name to log in with").inputValue(), "reader");
  await page.getByLabel("Where role 1 holds").selectOption("in Default");
  await page.getByRole("button", { name: "Make the user and a link" }).click();
  const link = await page.locator(".secret").textContent();
  await shot(page, "invited");
  const other = await browser.newContext();
  const theirs = await other.newPage();
  await theirs.goto(link);
  await theirs.getByLabel("Password", { exact: true }).fill(password);
  await theirs.getByLabel("Once more").fill(password);
  await theirs.getByRole("button", { name: "Choose the password" }).click();
  await theirs.getByText("Everything is backed up").waitFor();
  assert.equal(await theirs.getByRole("link", { name: "New backup job" }).count(), 0);
  await other.close();
  await page.getByRole("link", { name: "reader" }).click();
  await page.getByRole("link", { name: "Remove the user…" }).click();
  await shot(page, "remove-user");
  await page.getByRole("button", { name: "Remove the user" }).click();
  await page.getByText("The user was removed.").waitFor();
});

step("a key for everywhere is made, and removed after a question", async () => {
  await page.getByRole("link", { name: "API keys", exact: true }).click();
  await page.getByLabel("What it is for").fill("reports");
  await page.getByLabel("Role 1", { exact: true }).selectOption("Global Backup Admin");
  await page.getByRole("button", { name: "Make an API key" }).click();
  await page.locator(".secret").nth(1).waitFor();
  await shot(page, "api-key");
  await page.getByRole("link", { name: "Remove…" }).click();
  await page.getByText("reports").first().waitFor();
  await page.getByRole("button", { name: "Remove the key" }).click();
  await page.getByText("The API key was removed.").waitFor();
  assert.equal(await page.getByText("reports").count(), 0);
});

step("a store is added, and one is groomed", async () => {
  await page.getByRole("link", { name: "Stores", exact: true }).click();
  await page.getByRole("link", { name: "Add a store" }).click();
  await page.getByLabel("Name", { exact: true }).fill("second");
  await page.getByLabel("Where", { exact: true }).fill(process.env.BYGONE_SECOND);
  await page.getByRole("button", { name: "Add the store" }).click();
  await page.getByText("The store second was added.").waitFor();
  await page.getByRole("link", { name: "main", exact: true }).click();
  await page.getByRole("button", { name: "Groom now" }).click();
  await page.getByText("A groom was asked for").waitFor();
  await shows(/ needed of /);
  await shot(page, "store");
});

// By the keyboard alone, to the control that is wanted.
const tabTo = async (name) => {
  for (let stops = 0; stops < 60; stops += 1) {
    await page.keyboard.press("Tab");
    const here = await page.evaluate(() => {
      const active = document.activeElement;
      return active.labels?.[0]?.textContent.trim() || active.textContent.trim();
    });
    if (here === name) return;
  }
  assert.fail(`no stop at ${name}`);
};

step("a job is made and removed by keyboard alone", async () => {
  await page.goto(url);
  await tabTo("New backup job");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "New backup job" }).waitFor();
  await tabTo("Name");
  await page.keyboard.type("by hand");
  await tabTo("Connection string");
  await page.keyboard.type(process.env.BYGONE_SOURCE);
  await tabTo("One a day, for days");
  await page.keyboard.type("3");
  await tabTo("Create without starting");
  await page.keyboard.press("Enter");
  await page.getByText("by hand can be started.").waitFor();
  await tabTo("Remove…");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Remove the job of by hand?" }).waitFor();
  await tabTo("Remove");
  await page.keyboard.press("Enter");
  await page.getByText("The job was removed.").waitFor();
});

step("everything fits a phone, in both colour schemes", async () => {
  const phone = await context.newPage();
  const wide = page;
  page = phone;
  try {
    await page.setViewportSize({ width: 360, height: 740 });
    await page.goto(url);
    const overview = page.url();
    const job = await page.getByRole("link", { name: "prod" }).getAttribute("href");
    const paths = ["", "/new", "/restores", "/events", "/keys"].map((rest) => overview + rest);
    paths.push(...["", "/schedule", "/source", "/restore", "/confirm/stop"].map((rest) => new URL(job, url) + rest));
    paths.push(...["/stores", "/users", "/keys", "/settings", "/projects", "/alerts"].map((rest) => url + rest));
    await page.locator("summary", { hasText: "Menu" }).click();
    await page.getByRole("link", { name: "API keys", exact: true }).waitFor();
    await shot(page, "phone-menu");
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      for (const path of paths) {
        await page.goto(path);
        await fits(path);
        const top = await page.locator("header.top").boundingBox();
        assert.ok(top.height < 64, `the header of ${path} is ${top.height} high`);
        await shot(page, `phone-${colorScheme}-${new URL(path).pathname.split("/").slice(3).filter((p) => p.length < 20).join("-") || new URL(path).pathname.split("/")[1]}`);
      }
    }
  } finally {
    page = wide;
    await phone.close();
  }
});

step("the dark scheme is dark", async () => {
  await page.emulateMedia({ colorScheme: "dark" });
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await ground();
  await page.goto(url);
  await page.getByRole("link", { name: "prod" }).click();
  await page.locator("svg[data-timeline]").waitFor();
  await shot(page, "job-dark");
  await page.emulateMedia({ colorScheme: "light" });
  assert.notEqual(dark, await ground());
});

step("pages work without script", async () => {
  const plain = await browser.newContext({ javaScriptEnabled: false, storageState: await context.storageState() });
  const quiet = await plain.newPage();
  await quiet.goto(page.url());
  await quiet.locator("svg[data-timeline] line.snap").first().waitFor({ state: "attached" });
  await quiet.locator("dt", { hasText: "Schedule" }).getByRole("link").click();
  await quiet.getByLabel("One a day, for days").fill("3");
  await quiet.getByRole("button", { name: "Preview" }).click();
  assert.equal(await quiet.getByLabel("One a day, for days").inputValue(), "3");
  await plain.close();
});

step("the viewer's own time stands beside UTC", async () => {
  const options = { timezoneId: "Europe/Berlin", storageState: await context.storageState() };
  const berlin = await browser.newContext(options);
  const theirs = await berlin.newPage();
  await theirs.goto(page.url());
  const title = await theirs.locator("dd time").first().getAttribute("title");
  assert.match(title, /\d{4}-\d\d-\d\d \d\d:\d\d:\d\d Europe\/Berlin$/);
  await theirs.getByRole("link", { name: "Restore", exact: true }).first().click();
  await theirs.getByLabel("A second").check();
  await theirs.getByLabel("Before this second (UTC)").fill("2026-11-20 10:30:00");
  await theirs.getByText("By your clock: 2026-11-20 11:30:00 Europe/Berlin").waitFor();
  await shot(theirs, "restore-berlin");
  await berlin.close();
});

step("the job is stopped, and terminated by typing its name", async () => {
  await page.getByRole("link", { name: "Stop…" }).click();
  await shot(page, "stop");
  await page.getByRole("button", { name: "Stop", exact: true }).click();
  await badge("Stopped").waitFor();
  await page.getByRole("link", { name: "Terminate…" }).click();
  await page.getByLabel("Type prod to go on").fill("prod");
  await shot(page, "terminate");
  await page.getByRole("button", { name: "Delete everything" }).click();
  await badge("Inactive").waitFor({ timeout: 120_000 });
  await page.getByText("Nothing is stored yet").waitFor();
});
