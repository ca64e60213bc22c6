// What pages are nicer with, and work without: parts that refresh themselves, the preview of a schedule, a click into
// the timeline that fills in the moment, and the viewer's own time beside UTC.
"use strict";

// What somebody is at is not taken from under his hand: a field that has the focus, what is being pressed, text that is
// selected, and what he opened.
const busy = (part) => {
  const active = document.activeElement;
  const typing = active && part.contains(active) && active.matches("input, select, textarea");
  const selection = getSelection();
  const selected = selection && !selection.isCollapsed && selection.getRangeAt(0).intersectsNode(part);
  // Where something in it is pressed, the part is, too.
  return typing || selected || part.matches(":active") || part.querySelector("details[open]") !== null;
};

// The focus stays where it was: on the control that does the same; of several that do, on the one in the same place.
const remember = (part) => {
  const active = document.activeElement;
  if (!active || !part.contains(active)) return () => {};
  const all = (root) => [...root.querySelectorAll("a, button, summary")];
  const same = (a, b) =>
    a.textContent === b.textContent && a.getAttribute("href") === b.getAttribute("href") &&
    a.form?.getAttribute("action") === b.form?.getAttribute("action");
  const alike = () => all(part).filter((control) => same(control, active));
  const place = alike().indexOf(active);
  return () => {
    const there = alike();
    (there[place] ?? there[0])?.focus({ preventScroll: true });
  };
};

const offline = (yes) => {
  const bar = document.getElementById("offline");
  if (bar) bar.hidden = !yes;
};

const fetchPart = async (url) => {
  const response = await fetch(url, { credentials: "same-origin", headers: { accept: "text/html" } });
  // The session ended: the page leads to the login.
  if (response.redirected) location.reload();
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response.text();
};

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
// Written as ours are: 2026-11-20 11:30:00.
const clock = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });

// What a moment is here: in the title of each, and beside those that somebody is about to restore to.
const localise = (root) => {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const here = `${clock.format(at)} ${zone}`;
    time.title = [time.title, here].filter(Boolean).join(" · ");
    if (time.classList.contains("asked") && zone !== "UTC") time.append(` (${here})`);
  }
};

const shown = new WeakMap();

const refresh = async (part) => {
  if (document.hidden || busy(part)) return;
  try {
    const text = await fetchPart(part.dataset.live);
    offline(false);
    if (busy(part) || shown.get(part) === text) return;
    shown.set(part, text);
    const back = remember(part);
    part.innerHTML = text;
    back();
    localise(part);
    timelines(part);
  } catch {
    offline(true);
  }
};

const live = () => {
  for (const part of document.querySelectorAll("[data-live]")) {
    const again = async () => {
      await refresh(part);
      setTimeout(again, Number(part.dataset.every) * 1000);
    };
    setTimeout(again, Number(part.dataset.every) * 1000);
  }
};

const preview = () => {
  const form = document.querySelector("form[data-previewed]");
  const part = document.querySelector("[data-preview]");
  if (!form || !part) return;
  let waiting = 0;
  const show = async () => {
    const fields = new FormData(form);
    const wanted = ["interval", "base", "window"].flatMap((name) => [name, `${name}_unit`]);
    wanted.push("day_at", "zone", "days", "weeks", "months", "years");
    const query = new URLSearchParams(wanted.map((name) => [name, fields.get(name) ?? ""]));
    try {
      part.innerHTML = await fetchPart(`${part.dataset.preview}?${query}`);
      localise(part);
      offline(false);
    } catch {
      offline(true);
    }
  };
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(show, 250);
  });
};

// The second under the pointer, as the form wants it.
const second = (svg, event) => {
  const box = svg.getBoundingClientRect();
  const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
  const [from, to] = [Number(svg.dataset.from), Number(svg.dataset.to)];
  const at = Math.min(from + share * (to - from), Date.now() / 1000);
  return new Date(Math.round(at) * 1000).toISOString().slice(0, 19).replace("T", " ");
};

const choose = (name, value) => {
  const form = document.getElementById("restore");
  form.querySelector(`input[name=pick][value=${name}]`).checked = true;
  form.querySelector(`[name=${name}]`).value = value;
  follow(form);
  here(form);
};

const timelines = (root) => {
  for (const svg of root.querySelectorAll("svg[data-timeline][data-restore]")) {
    svg.addEventListener("click", (event) => {
      const here = document.getElementById("restore");
      const tick = event.target.closest("a");
      if (tick && here) {
        event.preventDefault();
        choose("snapshot", new URL(tick.href.baseVal, location.href).searchParams.get("when"));
      } else if (!tick) {
        const at = second(svg, event);
        if (here) choose("instant", at);
        else location.href = `${svg.dataset.restore}?when=${encodeURIComponent(`${at.replace(" ", "T")}Z`)}`;
      }
    });
  }
};

// Only the fields of the chosen way are shown.
const follow = (form) => {
  for (const name of ["pick", "where", "shape", "limit"]) {
    const control = form.querySelector(`input[name=${name}]:checked, select[name=${name}]`);
    const chosen = control?.value;
    for (const part of form.querySelectorAll(`[data-${name}]`)) part.hidden = part.dataset[name] !== chosen;
  }
};

const wizard = () => {
  const form = document.getElementById("restore");
  if (!form) return;
  follow(form);
  here(form);
  form.addEventListener("change", () => follow(form));
  form.addEventListener("input", () => here(form));
};

// What the typed second is by the viewer's clock.
const here = (form) => {
  for (const part of form.querySelectorAll("[data-local]")) {
    const text = form.querySelector(`[name=${part.dataset.local}]`).value.trim().replace(" ", "T");
    const zoned = /[zZ]|[+-]\d\d:?\d\d$/.test(text.slice(10));
    const at = new Date(zoned ? text : `${text}Z`);
    part.hidden = zone === "UTC" || !/^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(text) || Number.isNaN(at.getTime());
    if (!part.hidden) part.textContent = `By your clock: ${clock.format(at)} ${zone}`;
  }
};

localise(document);
live();
preview();
timelines(document);
wizard();
