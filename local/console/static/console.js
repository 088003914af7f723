// The server asks the API and keeps its token; this page only has the key of the server, from the fragment.
const element = (id) => document.getElementById(id);

const key = new URLSearchParams(location.hash.slice(1)).get("key") ?? sessionStorage.getItem("key") ?? "";
sessionStorage.setItem("key", key);
history.replaceState(null, "", location.pathname);

class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function ask(path, body) {
  const answer = await fetch(path, {
    method: body ? "POST" : "GET",
    headers: { "X-Console-Key": key, ...(body && { "Content-Type": "application/json" }) },
    body: body && JSON.stringify(body),
  });
  const document_ = await answer.json();
  if (answer.ok) return document_;
  const details = (document_.errors ?? []).map(({ detail }) => detail);
  throw new Refused(answer.status, [document_.detail ?? document_.title, ...details].join(": "));
}

function made(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.map((child) => child ?? ""));
  return node;
}

function table(caption, names, rows) {
  const cell = (value) => {
    if (typeof value === "number") return made("td", { className: "number", textContent: value.toLocaleString("en") });
    return made("td", {}, value);
  };
  const scroll = made(
    "div",
    { className: "scroll", tabIndex: 0 },
    made(
      "table",
      {},
      made("caption", { textContent: caption }),
      made("thead", {}, made("tr", {}, ...names.map((name) => made("th", { scope: "col", textContent: name })))),
      made("tbody", {}, ...rows.map((row) => made("tr", {}, ...row.map(cell)))),
    ),
  );
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", caption);
  return scroll;
}

const code = (text) => made("code", { textContent: text });
const fine = (text) => made("p", { className: "fine", textContent: text });
const instant = (text) => (text ? text.replace("T", " ").replace(/(\.\d+)?Z$/, "") : "");
const verdict = (yes, text) => made("span", { className: yes ? "yes" : "no", textContent: text });

const REASONS = {
  given: "They agreed, and that counts.",
  not_given: "They have not chosen.",
  denied: "They said no.",
  withdrawn: "They withdrew.",
  expired: "They agreed, but that has expired.",
  superseded: "They agreed to a wording that no longer counts.",
  pending: "They have not confirmed yet.",
};

let catalogue = [];

/** Every wording of a consent that an event names, from the catalogue's newest version. */
function choiceText({ id, enabled, version }) {
  const newest = catalogue.find((one) => one.id === id);
  const wording = newest?.version === version ? `: ${newest.description}` : "";
  return `${enabled ? "yes" : "no"} to ${id} v${version}${wording}`;
}

function contextText(context) {
  if (!context) return "";
  return Object.entries(context).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`).join("; ");
}

/** All items of a list, page by page. */
async function readAll(path) {
  const items = [];
  for (let cursor = null; ; ) {
    const page = await ask(`${path}?${new URLSearchParams(cursor ? { limit: 500, cursor } : { limit: 500 })}`);
    items.push(...page.items);
    if (!page.next) return items;
    cursor = page.next;
  }
}

async function showUser(user) {
  const checks = catalogue.slice(0, 1000).map((consent) => ({ user: { id: user.id }, consent: consent.id }));
  const [{ results }, events] = await Promise.all([
    checks.length ? ask("/check", { checks }) : { results: [] },
    readAll(`/v1/users/${user.id}/events`),
  ]);
  element("user").replaceChildren(
    made("h3", { textContent: user.email }),
    fine(`Id ${user.id}`),
    made("h3", { textContent: "May we send this, and why?" }),
    table("Answers of the check", ["consent", "allowed", "why", "since"], results.map((result, place) => [
      code(catalogue[place].id),
      verdict(result.allowed, result.allowed ? "yes" : "no"),
      REASONS[result.reason] ?? result.reason,
      instant(result.since),
    ])),
    made("h3", { textContent: "Proof: every event, newest first" }),
    table("Events", ["made at", "received at", "choices", "source", "context", "event"], events.reverse().map((event) => [
      instant(event.occurred_at),
      instant(event.received_at),
      event.consents.map(choiceText).join("; "),
      event.source,
      contextText(event.context),
      code(event.id),
    ])),
  );
}

async function find(who) {
  const shown = element("user");
  shown.replaceChildren(fine("Searching …"));
  try {
    const isId = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(who);
    const user = isId ? await ask(`/v1/users/${who.toLowerCase()}`) : (await ask("/find", { email: who })).items[0];
    if (user) await showUser(user);
    else shown.replaceChildren(fine("No user has this address."));
  } catch (error) {
    shown.replaceChildren(fine(error.status === 410 ? "This user has been erased." : error.message));
  }
}

async function showRejects(job) {
  const shown = element("rejects");
  try {
    const { lines } = await ask(`/v1/imports/${job.id}/rejects`);
    const reasons = Object.entries(job.reasons).map(([reason, count]) => `${count} × ${reason}`).join(", ");
    shown.replaceChildren(
      made("h3", { textContent: `Rejected lines of ${job.file_name ?? job.key}` }),
      fine(`${reasons}. The first ${lines.length} lines of the file:`),
      made("div", { className: "scroll", tabIndex: 0 }, made("pre", { textContent: lines.join("\n") })),
    );
  } catch (error) {
    shown.replaceChildren(fine(error.message));
  }
}

async function showImports() {
  const { items } = await ask("/v1/imports?limit=20");
  if (!items.length) return element("imports").replaceChildren(fine("None yet: make import FILE=path"));
  element("imports").replaceChildren(
    table("Imports", ["file", "state", "lines", "accepted", "skipped", "rejected", "created at", ""], items.map((job) => [
      job.file_name ?? job.key,
      job.dry_run ? `${job.state} (dry run)` : job.state,
      job.lines,
      job.accepted,
      job.skipped,
      job.rejected,
      instant(job.created_at),
      job.rejects_kept
        ? made("button", { type: "button", className: "quiet", textContent: "rejected lines", onclick: () => showRejects(job) })
        : "",
    ])),
  );
}

async function readCatalogue() {
  catalogue = await readAll("/v1/consents");
  element("catalogue").replaceChildren(
    table("Consents", ["id", "version", "wording", "channel", "expires after"], catalogue.map((consent) => [
      code(consent.id),
      consent.version,
      consent.description,
      consent.channel,
      consent.expires_after_days ? `${consent.expires_after_days} days` : "never",
    ])),
  );
}

async function showToday() {
  const [today, ready] = await Promise.all([ask("/today"), ask("/v1/ready")]);
  const figures = {
    requests: today.requests,
    "refused (4xx)": today.refused,
    "failed (5xx)": today.failed,
    "median, ms": today.median_ms ?? "–",
    database: ready.checks.database,
  };
  element("figures").replaceChildren(
    ...Object.entries(figures).map(([name, value]) =>
      made("div", {}, made("dt", { textContent: name }), made("dd", { textContent: value.toLocaleString("en") })),
    ),
  );
  element("operations").replaceChildren(
    table("Requests by operation", ["operation", "requests"], Object.entries(today.operations).map(([name, count]) => [code(name), count])),
  );
}

element("find").addEventListener("submit", (event) => {
  event.preventDefault();
  find(element("who").value.trim());
});

try {
  await readCatalogue();
  await Promise.all([showImports(), showToday()]);
} catch (error) {
  element("notice").textContent = error.message;
  element("notice").hidden = false;
}
