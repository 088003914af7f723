// A person's own preferences. The tokens come in the fragment of the address, which no browser sends to a server:
// #token=… for the purpose `preferences`, and &erase=… to offer the erasure as well.
import { language, locale, text, wording } from "./words.js";

const element = (id) => document.getElementById(id);
const main = document.querySelector("main");
let tokens = {};
let consents = [];
/** The person's events, oldest first as the API lists them, and how many of the newest are shown. */
let events = [];
let shown = 10;
/** Choices are sent one after another, in the order in which they were made. */
let sending = Promise.resolve();

class Refused extends Error {
  constructor(status) {
    super(`the API answered ${status}`);
    this.status = status;
  }
}

/** Takes the tokens out of the address, so that they are not in the history, a bookmark or a screenshot. */
function takeTokens() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (given.has("token") || given.has("erase")) {
    history.replaceState(null, "", location.pathname);
    sessionStorage.setItem("token", given.get("token") ?? "");
    sessionStorage.setItem("erase", given.get("erase") ?? "");
  }
  return { token: sessionStorage.getItem("token"), erase: sessionStorage.getItem("erase") };
}

async function ask(method, path, { token = tokens.token, body, redirect } = {}) {
  const headers = { Authorization: `Bearer ${token}` };
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, redirect, body: body && JSON.stringify(body), cache: "no-store" });
  if (!answer.ok && answer.type !== "opaqueredirect") throw new Refused(answer.status);
  return answer;
}

const date = (instant, style) => new Intl.DateTimeFormat(locale, style).format(new Date(instant));
const day = (instant) => date(instant, { dateStyle: "long" });
const minute = (instant) => date(instant, { dateStyle: "medium", timeStyle: "short" });

function made(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

let saying;

function say(key) {
  clearTimeout(saying);
  element("status").textContent = "";
  // A status that says the same again is only read aloud if it changes.
  saying = setTimeout(() => {
    element("status").textContent = text(key);
    saying = setTimeout(() => { element("status").textContent = ""; }, 8000);
  }, 50);
}

/** Shows only a message, for example because the link has expired. */
function close(key) {
  main.removeAttribute("aria-busy");
  element("content").hidden = true;
  element("person").textContent = "";
  element("notice").textContent = text(key);
  element("notice").hidden = false;
}

function explain(error) {
  const words = { 401: "expired", 403: "expired", 404: "gone", 410: "gone" };
  return (error instanceof Refused && words[error.status]) || "failed";
}

function state(consent) {
  if (consent.pending) return [text("pending")];
  if (!consent.since) return [text("unanswered")];
  if (consent.expires_at && new Date(consent.expires_at) <= new Date()) return [text("lapsed")];
  const said = [text(consent.enabled ? "onSince" : "offSince", { date: day(consent.since) })];
  if (consent.enabled && consent.expires_at) said.push(text("until", { date: day(consent.expires_at) }));
  if (consent.enabled && consent.answered_version < consent.version) said.push(text("earlier"));
  return said;
}

function card(consent) {
  const id = `choice-${consent.id}`;
  const box = made("input", { type: "checkbox", id, checked: consent.enabled });
  box.setAttribute("role", "switch");
  box.setAttribute("aria-describedby", `${id}-state`);
  box.addEventListener("change", () => {
    const enabled = box.checked;
    choose(() => [{ id: consent.id, enabled }]);
  });
  return made(
    "li",
    { className: `card choice${consent.pending ? " pending" : ""}` },
    made("label", { htmlFor: id, textContent: wording(consent) }),
    box,
    made("p", { className: "fine", id: `${id}-state`, textContent: state(consent).join(" ") }),
  );
}

function entry(event) {
  const words = event.consents.map(({ id, enabled }) => {
    const consent = consents.find((one) => one.id === id);
    return text(enabled ? "on" : "off", { wording: consent ? wording(consent) : id });
  });
  const when = text("by", { date: minute(event.occurred_at), source: event.source });
  return made("li", {}, words.join(" · "), made("span", { className: "fine", textContent: when }));
}

/** Reads the choices again, which keeps the focus where it is. */
async function showChoices() {
  const me = await (await ask("GET", "/v1/me")).json();
  consents = me.consents;
  const focused = document.activeElement?.id;
  element("person").textContent = me.email;
  element("choices").replaceChildren(...consents.map(card));
  element("none").hidden = !consents.some((one) => one.enabled || one.pending);
  if (focused?.startsWith("choice-")) element(focused)?.focus();
}

async function readEvents() {
  const read = [];
  for (let cursor = null; ; ) {
    const query = new URLSearchParams(cursor ? { limit: 500, cursor } : { limit: 500 });
    const page = await (await ask("GET", `/v1/me/events?${query}`)).json();
    read.push(...page.items);
    if (!page.next) return read;
    cursor = page.next;
  }
}

function showHistory() {
  const entries = events.slice(-shown).reverse().map(entry);
  element("history").replaceChildren(...(entries.length ? entries : [made("li", { textContent: text("nothing") })]));
  element("more").hidden = events.length <= shown;
}

/** Sends what `pick` returns when all earlier choices are recorded and read again. */
function choose(pick) {
  sending = sending.then(async () => {
    const choices = pick();
    if (!choices.length) return;
    for (const { id } of choices) element(`choice-${id}`).setAttribute("aria-busy", "true");
    try {
      const answer = await ask("POST", "/v1/me/events", { body: { consents: choices } });
      events.push(await answer.json());
      showHistory();
      say("saved");
    } catch (error) {
      if (explain(error) !== "failed") return close(explain(error));
      say("unsaved");
    }
    // After a failure too: a switch shows what is recorded, not what was wanted.
    await showChoices().catch(() => {
      for (const { id, enabled } of choices) {
        element(`choice-${id}`).checked = !enabled;
        element(`choice-${id}`).removeAttribute("aria-busy");
      }
    });
  });
}

async function download() {
  const answer = await ask("GET", "/v1/me/export", { redirect: "manual" });
  // A long export is a file on another host, which this page may not ask: it has the same events page by page.
  const long = answer.type === "opaqueredirect";
  const me = long && (await (await ask("GET", "/v1/me")).json());
  const content = long ? new Blob([JSON.stringify({ user: me, events: await readEvents() })]) : await answer.blob();
  const href = URL.createObjectURL(content);
  made("a", { href, download: "my-data.json" }).click();
  // Some browsers read it only after the click.
  setTimeout(() => URL.revokeObjectURL(href), 60000);
}

async function erase() {
  element("sure").returnValue = "";
  element("sure").showModal();
  await new Promise((closed) => { element("sure").addEventListener("close", closed, { once: true }); });
  if (element("sure").returnValue !== "yes") return;
  await ask("DELETE", "/v1/me", { token: tokens.erase });
  sessionStorage.clear();
  close("erased");
}

function onClick(id, action) {
  element(id).addEventListener("click", () => {
    Promise.resolve(action()).catch((error) => (explain(error) === "failed" ? say("failed") : close(explain(error))));
  });
}

async function start() {
  document.documentElement.lang = language;
  document.title = text("title");
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text(node.dataset.text);
  tokens = takeTokens();
  if (!tokens.token) return close("noToken");
  onClick("none", () => choose(() => consents.filter((one) => one.enabled || one.pending).map(({ id }) => ({ id, enabled: false }))));
  onClick("more", () => {
    shown += 50;
    showHistory();
  });
  onClick("download", download);
  onClick("erase", erase);
  element("erase").hidden = !tokens.erase;
  element("erase-help").hidden = Boolean(tokens.erase);
  try {
    await showChoices();
    // A token for some consents only does not show the rest of what is known about the person.
    const rest = await readEvents().catch((error) => {
      if (!(error instanceof Refused) || error.status !== 403) throw error;
    });
    events = rest ?? [];
    for (const id of ["history-title", "data-title"]) element(id).parentElement.hidden = !rest;
    showHistory();
  } catch (error) {
    return close(explain(error));
  }
  element("content").hidden = false;
  main.removeAttribute("aria-busy");
}

// A second link may be opened in the same tab.
addEventListener("hashchange", () => location.reload());
start();
