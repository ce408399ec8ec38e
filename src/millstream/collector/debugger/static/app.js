// The live page. Everything that comes from an event is attacker-controlled text: it enters the page only
// as textContent, and the page's content security policy is a second line of defence.

const MOST = 10_000; // rows in the list, as many as the collector remembers
const WINDOW = 300; // seconds in the chart
const SILENCE = 10_000; // milliseconds of silence after which a connection counts as lost
const CALM = 20; // rows that may light up on arrival
const TYPES = document.getElementById("types").dataset.types.split(" ");
const KINDS = {
  stored: "Kept: in the collector's files",
  duplicate: "Came before, with the same messageId, and is kept once",
  rejected: "Not valid, and not kept. Segment answers 200 to these and drops them",
  refused: "Whole requests of which nothing could be used",
};

const $ = (id) => document.getElementById(id);

/** An element with properties and children; children that are strings become text. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name === "on") for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// -- text ---------------------------------------------------------------------------------------------------------

const UNSEEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;
const SHORT = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** Escape invisible and bidirectional characters. */
const visible = (text) =>
  text.replace(UNSEEN, (char) => {
    const code = char.codePointAt(0);
    return SHORT[char] ?? (code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, "0")}`);
  });

const many = (number) => number.toLocaleString("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const few = (number) => (number < 10_000 ? many(number) : compact.format(number));
const clock = (date) => date.toLocaleTimeString("en-GB");
const milliseconds = (date) => String(date.getMilliseconds()).padStart(3, "0");

// -- state ------------------------------------------------------------------------------------------------

const filters = { text: "", name: "", user: "", kind: new Set(), type: new Set(), source: new Set() };
let rows = []; // oldest first
let waiting = []; // rows received while the list is paused
let skipped = 0;
let serial = 0;
let stats = null;
let seconds = new Map();
let names = new Set();
let paused = false;
let cleared = false;
let selected = null; // a row
let open = false; // whether the detail panel is open
let raw = false;

const still = () => paused || list.scrollTop > 0;
const filtered = () =>
  Boolean(filters.text || filters.name || filters.user || filters.kind.size || filters.type.size || filters.source.size);

function arrive(fresh, lit) {
  const now = performance.now();
  for (const row of fresh) {
    row.serial = ++serial;
    row.boot = stream.boot;
    row.since = lit && fresh.length <= CALM ? now : -Infinity;
    if (row.name && (row.type === "track" || row.type === "page" || row.type === "screen")) remember(row.name);
  }
  const into = still() && !stream.past ? waiting : rows;
  for (const row of fresh) into.push(row);
  if (into.length > MOST + 1000) into.splice(0, into.length - MOST);
  draw();
}

/** Add the waiting rows to the list. */
function release() {
  if (!waiting.length) return;
  rows = [...rows, ...waiting].slice(-MOST);
  waiting = [];
  draw();
}

function remember(name) {
  if (names.has(name) || names.size >= 200) return;
  names.add(name);
  $("names").append(make("option", { value: name }));
}

function empty() {
  rows = [];
  waiting = [];
  skipped = 0;
}

// -- the connection -----------------------------------------------------------------------------------------------

const stream = {
  source: null,
  boot: "",
  last: "", // id of the last message
  heard: 0,
  replacing: false, // the rows of the next message replace the list
  past: false, // events from before this page was opened
  retry: 0,

  /** Connect; with `anew`, for other filters, reset the list. */
  start(anew = false) {
    this.source?.close();
    clearTimeout(this.retry);
    if (anew) {
      this.last = "";
      this.replacing = true;
    }
    this.past = !this.last;
    const asked = new URLSearchParams(query());
    if (this.last) asked.set("after", this.last);
    const source = (this.source = new EventSource(`debug/events?${asked}`));
    this.heard = Date.now();
    source.addEventListener("hello", (message) => this.hello(JSON.parse(message.data)));
    source.addEventListener("rows", (message) => this.rows(message));
    source.addEventListener("stats", (message) => this.stats(JSON.parse(message.data)));
    source.onerror = () => {
      showState("lost", "Connection lost. Trying again…");
      if (source.readyState === EventSource.CLOSED) this.refused();
    };
  },

  hello({ boot }) {
    this.heard = Date.now();
    if (this.boot && this.boot !== boot) seconds.clear();
    this.boot = boot;
    showState();
  },

  rows(message) {
    this.heard = Date.now();
    this.last = message.lastEventId;
    const data = JSON.parse(message.data);
    this.replace();
    skipped += data.skipped;
    arrive(data.rows, !this.past);
  },

  stats(data) {
    this.heard = Date.now();
    this.replace();
    this.past = false;
    stats = data;
    for (const second of data.seconds) seconds.set(second.at, second);
    for (const at of seconds.keys()) if (at <= data.at - WINDOW) seconds.delete(at);
    showState();
    drawOverview();
  },

  replace() {
    if (!this.replacing) return;
    this.replacing = false;
    empty();
    list.scrollTop = 0;
    draw();
  },

  /** Find out why the server did not answer with events: an EventSource gives up without a reason. */
  async refused() {
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.start(), 2000);
    try {
      const answer = await fetch("debug/events/0");
      if (answer.status === 401 || answer.status === 403) showState("lost", (await answer.text()).trim());
    } catch {
      // Not reachable: try again.
    }
  },
};

setInterval(() => {
  if (Date.now() - stream.heard < SILENCE) return;
  showState("lost", "Connection lost. Trying again…");
  stream.start();
}, 1000);

function showState(state = paused ? "paused" : "live", text = paused ? "Paused" : "Live") {
  if ($("state").dataset.state === state && $("state-text").textContent === text) return;
  $("state").dataset.state = state;
  $("state-text").textContent = text;
}

// -- filters ------------------------------------------------------------------------------------------------------

/** The filters as a query string, for the page's address and the collector. */
function query() {
  const asked = new URLSearchParams();
  for (const field of ["text", "name", "user"]) if (filters[field]) asked.set(field, filters[field]);
  for (const field of ["kind", "type", "source"]) for (const value of filters[field]) asked.append(field, value);
  return asked.toString();
}

function readAddress() {
  const asked = new URLSearchParams(location.search);
  for (const field of ["text", "name", "user"]) filters[field] = asked.get(field) ?? "";
  for (const field of ["kind", "type", "source"]) filters[field] = new Set(asked.getAll(field));
  for (const field of ["text", "name", "user"]) $(`filter-${field}`).value = filters[field];
}

/** Reload the list after a change of filters. */
function refilter() {
  const asked = query();
  history.replaceState(null, "", asked ? `?${asked}` : location.pathname);
  cleared = false;
  $("filters-clear").hidden = !filtered();
  drawOverview();
  stream.start(true);
}

function toggle(field, value) {
  if (!filters[field].delete(value)) filters[field].add(value);
  refilter();
}

function only(field, value) {
  filters[field] = value;
  $(`filter-${field}`).value = value;
  refilter();
}

let typing = 0;
for (const field of ["text", "name", "user"]) {
  $(`filter-${field}`).addEventListener("input", (event) => {
    filters[field] = event.target.value.trim();
    clearTimeout(typing);
    typing = setTimeout(refilter, 150);
  });
}
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters-clear").addEventListener("click", showAll);

function showAll() {
  for (const field of ["text", "name", "user"]) $(`filter-${field}`).value = filters[field] = "";
  for (const field of ["kind", "type", "source"]) filters[field].clear();
  refilter();
}

// -- the overview -------------------------------------------------------------------------------------------------

/** A button that shows a count and toggles a filter; made once, then updated. */
function switchFor(field, value, label, title) {
  const number = make("b");
  const words = make("span", {}, label);
  const button = make(
    "button",
    { type: "button", class: `switch ${field}-${field === "source" ? "any" : value}`, title },
    ...(field === "kind" ? [number, words] : [words, number]),
  );
  button.addEventListener("click", () => toggle(field, value));
  return {
    button,
    update(count, extra = "") {
      const text = field === "kind" ? many(count) : few(count);
      if (number.textContent !== text) number.textContent = text;
      button.setAttribute("aria-pressed", filters[field].has(value));
      if (field === "source") button.title = extra ? `${value}: ${extra}` : value;
      button.classList.toggle("marked", Boolean(extra));
      button.classList.toggle("none", !count);
    },
  };
}

const kindSwitches = Object.entries(KINDS).map(([kind, title]) => [kind, switchFor("kind", kind, kind, title)]);
$("kinds").append(...kindSwitches.map(([, each]) => each.button));
const typeSwitches = TYPES.map((type) => [type, switchFor("type", type, type, "")]);
$("types").append(...typeSwitches.map(([, each]) => each.button));
const sourceSwitches = new Map();

function drawOverview() {
  for (const [kind, each] of kindSwitches) each.update(stats?.kinds[kind] ?? 0);
  for (const [type, each] of typeSwitches) each.update(stats?.types[type] ?? 0);
  drawSources();
  drawChart();
  drawBlank();
}

function drawSources() {
  const found = (stats?.sources ?? []).toSorted((one, other) => (one.source < other.source ? -1 : 1));
  for (const [source, each] of sourceSwitches) {
    if (!found.some((one) => one.source === source)) {
      each.button.remove();
      sourceSwitches.delete(source);
    }
  }
  found.forEach(({ source, ...counts }, index) => {
    if (!sourceSwitches.has(source)) sourceSwitches.set(source, switchFor("source", source, source || "no write key", ""));
    const { button, update } = sourceSwitches.get(source);
    const other = Object.entries(counts).filter(([kind]) => kind !== "stored" && kind !== "empty");
    update(counts.stored ?? 0, other.map(([kind, count]) => `${many(count)} ${kind}`).join(", "));
    if ($("sources").children[index] !== button) $("sources").insertBefore(button, $("sources").children[index] ?? null);
  });
  $("sources-box").hidden = !found.length;
  $("sources-title").textContent = found.length > 3 ? `${found.length} sources` : "Sources";
}

const bars = (kind) => document.querySelector(`.bars.${kind}`);
const total = (second) => (second ? ["stored", "duplicate", "rejected", "refused"].reduce((sum, kind) => sum + (second[kind] ?? 0), 0) : 0);
let pointed = null; // the second under the pointer, counted from now

function drawChart() {
  const now = stats?.at ?? 0;
  let peak = 0;
  for (const second of seconds.values()) peak = Math.max(peak, total(second));
  const scale = 38 / Math.max(peak, 4);
  const paths = { stored: "", duplicate: "", rejected: "" };
  for (let x = 0; x < WINDOW; x++) {
    const second = seconds.get(now - WINDOW + 1 + x);
    if (!second) continue;
    let base = 40;
    for (const kind of Object.keys(paths)) {
      const count = (second[kind] ?? 0) + (kind === "rejected" ? (second.refused ?? 0) : 0);
      if (!count) continue;
      const height = Math.max(count * scale, 1);
      paths[kind] += `M${x} ${base}v${-height}h1v${height}z`;
      base -= height;
    }
  }
  for (const [kind, path] of Object.entries(paths)) bars(kind).setAttribute("d", path);
  const rate = recent(now, 10);
  $("chart-rate").textContent = `${rate} ${rate === "1" ? "event" : "events"} a second`;
  $("chart-note").textContent = pointed === null ? (peak ? `peak ${many(peak)}` : "") : told(now - pointed);
  $("chart").setAttribute("aria-label", `Events in the last five minutes: ${rate} a second now, ${many(peak)} at most`);
}

function recent(now, span) {
  let sum = 0;
  for (let at = now - span; at < now; at++) sum += total(seconds.get(at));
  const rate = sum / span;
  return rate >= 10 || Number.isInteger(rate) ? many(Math.round(rate)) : rate.toFixed(1);
}

function told(at) {
  const second = seconds.get(at);
  const parts = Object.keys(KINDS).filter((kind) => second?.[kind]).map((kind) => `${many(second[kind])} ${kind}`);
  return `${clock(new Date(at * 1000))} · ${parts.join(", ") || "nothing"}`;
}

$("chart").addEventListener("pointermove", (event) => {
  const { left, width } = $("chart").getBoundingClientRect();
  pointed = WINDOW - 1 - Math.min(WINDOW - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * WINDOW)));
  drawChart();
});
$("chart").addEventListener("pointerleave", () => {
  pointed = null;
  drawChart();
});

// -- the list -----------------------------------------------------------------------------------------------------

const list = $("list");
const space = $("space");
const narrow = matchMedia("(max-width: 719px)");
const pool = new Map(); // from a place in the pool to its element
let drawing = false;
let lit = false;

const height = () => (narrow.matches ? 60 : 36);
const indexOf = (row) => {
  // Serial numbers have no gaps; the oldest are cut off.
  const index = row && rows.length ? rows.length - 1 - (rows.at(-1).serial - row.serial) : -1;
  return rows[index] === row ? rows.length - 1 - index : -1; // 0 is the newest
};
const rowAt = (index) => rows[rows.length - 1 - index];

function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    if (!still()) release();
    drawList();
  });
}

function drawList() {
  const tall = height();
  const size = `${Math.min(rows.length, MOST) * tall}px`;
  if (space.style.height !== size) space.style.height = size;
  const first = Math.max(0, Math.floor(list.scrollTop / tall) - 4);
  const count = Math.ceil(list.clientHeight / tall) + 9;
  const used = new Set();
  for (let index = first; index < Math.min(first + count, rows.length, MOST); index++) {
    const row = rowAt(index);
    const place = row.serial % (count + 1);
    used.add(place);
    if (!pool.has(place)) pool.set(place, makeLine());
    drawLine(pool.get(place), row, index, tall);
  }
  for (const [place, line] of pool) {
    if (used.has(place)) continue;
    line.node.remove();
    pool.delete(place);
  }
  if (indexOf(selected) >= 0) list.setAttribute("aria-activedescendant", `row-${selected.serial}`);
  else list.removeAttribute("aria-activedescendant");
  $("held").hidden = !waiting.length;
  if (waiting.length) $("held").textContent = `${many(waiting.length)}${waiting.length >= MOST ? "+" : ""} new`;
  $("match-count").hidden = !filtered() || stream.replacing;
  const match = rows.length + waiting.length + skipped;
  $("match-count").textContent = `${many(match)}${match >= MOST ? "+" : ""} ${match === 1 ? "matches" : "match"}`;
  $("skipped").hidden = !skipped;
  $("skipped").textContent = `${many(skipped)} events came faster than a list can show. They are counted all the same. A filter narrows down what comes.`;
  drawBlank();
}

const isRequest = (row) => row.kind === "refused" || row.kind === "empty";
const typeOf = (row) => row.type || (isRequest(row) ? "request" : "no type");

function makeLine() {
  const cells = ["when", "type", "name", "reason", "who", "source", "traits"].map((name) => make("span", { class: name }));
  const [when, type, name, reason, who, source, traits] = cells;
  const node = make("div", { class: "row" }, when, type, make("span", { class: "what" }, name, traits, reason), who, source);
  node.setAttribute("role", "option");
  space.append(node);
  return { node, cells, row: null, top: -1 };
}

function drawLine(line, row, index, tall) {
  const { node, cells } = line;
  if (line.row !== row) {
    line.row = row;
    node.id = `row-${row.serial}`;
    const date = new Date(row.at);
    const texts = [
      clock(date),
      typeOf(row),
      row.type === "alias" && row.name && row.user ? `${row.name} → ${row.user}` : row.name || "",
      row.kind === "stored" ? "" : row.kind === "empty" ? "no events · answered 200" : row.reason ? `${row.kind} · ${row.reason}` : row.kind,
      row.user || row.anonymous || "",
      row.source || "",
      row.traits || "",
    ];
    texts.forEach((text, cell) => (cells[cell].textContent = visible(text)));
    cells[0].dataset.rest = `.${milliseconds(date)}`;
    lit = !lit;
    const fresh = performance.now() - row.since < 1000;
    node.className = `row kind-${row.kind} type-${TYPES.includes(row.type) ? row.type : "other"}`;
    if (fresh) node.classList.add(lit ? "lit" : "lit-too");
    node.classList.toggle("anonymous", !row.user && Boolean(row.anonymous));
  }
  node.setAttribute("aria-selected", row === selected);
  node.setAttribute("aria-posinset", index + 1);
  node.setAttribute("aria-setsize", Math.min(rows.length, MOST));
  const top = index * tall;
  if (line.top !== top) node.style.transform = `translateY(${(line.top = top)}px)`;
}

list.addEventListener("scroll", draw, { passive: true });
addEventListener("resize", draw);
narrow.addEventListener("change", draw);
space.addEventListener("click", (event) => {
  const line = [...pool.values()].find(({ node }) => node.contains(event.target));
  if (line) show(line.row);
});
$("held").addEventListener("click", () => {
  if (paused) pause(false);
  list.scrollTop = 0;
  release();
  list.focus();
});

function move(step) {
  if (!rows.length) return;
  const from = indexOf(selected);
  select(rowAt(Math.min(rows.length - 1, Math.max(0, from < 0 ? 0 : from + step))));
  list.focus({ preventScroll: true }); // so that a screen reader announces the row
}

function select(row) {
  selected = row;
  const index = indexOf(row);
  if (index >= 0) {
    const top = index * height();
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + height() > list.scrollTop + list.clientHeight) list.scrollTop = top + height() - list.clientHeight;
  }
  draw();
  if (open) load(row);
}

function pause(on = !paused) {
  paused = on;
  $("pause").setAttribute("aria-pressed", paused);
  $("pause").textContent = paused ? "Go on" : "Pause";
  if ($("state").dataset.state !== "lost") showState();
  draw();
}

$("pause").addEventListener("click", () => pause());
$("clear").addEventListener("click", () => {
  empty();
  cleared = true;
  list.scrollTop = 0;
  close();
  draw();
});

// -- nothing to show ----------------------------------------------------------------------------------------------

let blank = "";

function drawBlank() {
  const came = stats && Object.keys(stats.kinds).length > 0;
  const why = rows.length || !stats || stream.replacing ? "" : cleared ? "cleared" : filtered() ? "filtered" : came ? "came" : "first";
  document.body.classList.toggle("has-none", why === "first");
  if (why === blank) return;
  blank = why;
  $("blank").hidden = !why;
  $("blank").replaceChildren(...(why ? BLANKS[why]() : []));
}

const BLANKS = {
  cleared: () => [make("p", {}, "Cleared. What comes now appears here.")],
  came: () => [make("p", {}, "What came is no longer remembered here. What comes now appears.")],
  filtered: () => [
    make("p", {}, "Nothing matches these filters. What does appears here when it comes."),
    make("button", { type: "button", on: { click: showAll } }, "Show all"),
  ],
  first: () => {
    const host = location.origin + location.pathname.replace(/\/$/, "");
    return [
      make("h2", {}, "Waiting for the first event"),
      make("p", {}, "Send one from Python:"),
      sample(
        "from millstream import Analytics\n\n" +
          `with Analytics("WRITE_KEY", host="${host}") as analytics:\n` +
          '    analytics.track("Hello", user_id="u1", properties={"from": "Python"})\n',
      ),
      make("p", {}, "or from a terminal:"),
      sample(
        `curl ${host}/v1/track -u WRITE_KEY: \\\n  -H 'Content-Type: application/json' \\\n` +
          `  -d '{"userId": "u1", "event": "Hello", "properties": {"from": "curl"}}'\n`,
        true,
      ),
      make("p", { class: "note" }, "Any write key will do, unless the collector was started with keys of its own."),
    ];
  },
};

// -- destinations -------------------------------------------------------------------------------------------------

const EVERY = 2000; // milliseconds between two looks at the destinations
const MOODS = { running: "", delivered: "", starting: "wait", retrying: "wait", limited: "wait", pending: "wait", settled: "", dropped: "wait", stopped: "bad" };
const mark = (state, title = "") => make("span", { class: `mark ${MOODS[state] ?? "bad"}`, title }, state);

async function lookAtDestinations() {
  try {
    const answer = document.hidden ? null : await fetch("debug/destinations");
    if (answer?.ok) drawDestinations(await answer.json());
  } catch {
    // The collector is gone: the state at the top says so.
  }
  setTimeout(lookAtDestinations, EVERY);
}

function drawDestinations(found) {
  $("destinations").hidden = !found.length;
  $("destinations-rows").replaceChildren(...found.map((each) => make("tr", {}, ...cells(each))));
}

function cells(each) {
  const dropped = Object.entries(each.dropped);
  const dead = each.dead
    ? make("button", { type: "button", class: "link", title: "Show them", on: { click: () => showLetters(each.name) } }, many(each.dead))
    : "0";
  return [
    make("td", { title: each.type }, visible(each.name)),
    make("td", {}, mark(each.state)),
    make("td", {}, each.lag_events ? `${few(each.lag_events)} events, ${Math.round(each.lag_seconds)} s` : "0"),
    make("td", {}, few(each.delivered)),
    make("td", {}, few(each.retried)),
    make("td", { title: dropped.map(([why, count]) => `${many(count)}: ${visible(why)}`).join("\n") }, few(dropped.reduce((sum, [, count]) => sum + count, 0))),
    make("td", {}, dead),
    make("td", { class: "error", title: visible(each.last_error) }, visible(each.last_error)),
  ];
}

async function showLetters(name) {
  $("letters-title").textContent = `Dead letters of ${visible(name)}`;
  const answer = await fetch(`debug/deadletters/${encodeURIComponent(name)}`);
  const letters = answer.ok ? await answer.json() : [];
  const head = ["When", "Code", "Attempts", "messageId", "Reason", ""].map((text) => make("th", { scope: "col" }, text));
  $("letters-list").replaceChildren(
    letters.length
      ? make("table", {}, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...letters.map((each) => letterRow(name, each))))
      : make("p", {}, "None is left."),
  );
  if (!$("letters").open) $("letters").showModal();
}

function letterRow(name, letter) {
  const said = make("span", { class: "note", role: "status" });
  const again = make("button", { type: "button", on: { click: () => retry(name, letter.id, again, said) } }, "Retry");
  const texts = [letter.lastAttemptedAt, letter.code, many(letter.attempts), letter.messageId];
  return make(
    "tr",
    {},
    ...texts.map((text) => make("td", {}, visible(text))),
    make("td", { class: "error", title: visible(letter.reason) }, visible(letter.reason)),
    make("td", {}, again, said),
  );
}

async function retry(name, id, button, said) {
  button.disabled = true;
  said.textContent = " …";
  const path = `debug/deadletters/${encodeURIComponent(name)}/${encodeURIComponent(id)}`;
  const answer = await fetch(path, { method: "POST", headers: { "X-Millstream-Action": "retry" } });
  const found = answer.ok ? await answer.json() : { delivered: false, message: await answer.text() };
  button.hidden = found.delivered;
  button.disabled = false;
  said.textContent = found.delivered ? "delivered" : ` ${visible(found.message)}`;
}

/** What became of an event at each destination, and what it would be sent. */
function fates(row, found) {
  return make(
    "ul",
    { class: "fates", "aria-label": "Destinations" },
    ...found.map((each) => {
      const item = make("li", {}, make("span", {}, visible(each.destination)), mark(each.state), make("span", { class: "note" }, visible(each.why)));
      item.append(make("button", { type: "button", class: "quiet", on: { click: (event) => preview(row, each.destination, item, event.target) } }, "Preview"));
      return item;
    }),
  );
}

async function preview(row, name, item, button) {
  button.hidden = true;
  const answer = await fetch(`debug/events/${row.id}/${encodeURIComponent(name)}`);
  const found = await answer.json();
  const text = Array.isArray(found) ? found.map(requestText).join("\n\n") || "It gets nothing of this event." : found.message || "It cannot be shown any more.";
  item.append(make("pre", {}, printable(text)));
}

const requestText = ({ method, url, headers, body }) =>
  [`${method} ${url}`, ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`), "", body].join("\n");

$("letters-close").addEventListener("click", () => $("letters").close());
lookAtDestinations();

// -- one event ----------------------------------------------------------------------------------------------------

const detail = $("detail");
let loading = null;

function show(row) {
  const before = open;
  open = true;
  select(row);
  if (!before && narrow.matches) detail.focus();
}

function close() {
  if (!open) return false;
  open = false;
  detail.hidden = true;
  detail.replaceChildren();
  document.body.classList.remove("has-detail");
  list.focus();
  draw();
  return true;
}

async function load(row) {
  loading?.abort();
  const mine = (loading = new AbortController());
  let found = row.detail;
  let problem = "";
  if (!found) {
    try {
      if (row.boot !== stream.boot) throw new Error("gone");
      const answer = await fetch(`debug/events/${row.id}`, { signal: mine.signal });
      if (answer.status === 404) throw new Error("gone");
      if (!answer.ok) throw new Error(await answer.text());
      found = row.detail = await answer.json();
    } catch (error) {
      if (mine.signal.aborted) return;
      problem =
        error.message === "gone"
          ? "So many events came since that the collector remembers this one no longer. What was stored is in its data directory: millstream query finds it."
          : `It could not be loaded: ${error.message}`;
    }
  }
  if (mine.signal.aborted || !open || selected !== row) return;
  drawDetail(row, found, problem);
}

function drawDetail(row, found, problem) {
  const shown = found?.row ?? row;
  const parts = [
    make(
      "header",
      {},
      make("span", { class: `badge type-${TYPES.includes(shown.type) ? shown.type : "other"}` }, visible(typeOf(shown))),
      make("h2", {}, shown.name ? linkTo("name", shown.name, "Show only what has this name") : titleOf(shown)),
      make("button", { type: "button", class: "quiet close", title: "Close (Esc)", "aria-label": "Close", on: { click: close } }, "×"),
    ),
    facts(shown),
  ];
  if (shown.kind !== "stored") parts.push(verdict(shown, found));
  else if (found?.why) parts.push(make("p", { class: "callout" }, make("strong", {}, "Time unknown"), ` Stored, but ${found.why}.`));
  if (problem) parts.push(make("p", { class: "callout" }, problem));
  if (found?.destinations?.length) parts.push(fates(row, found.destinations));
  if (found?.json) parts.push(...views(found));
  const scrolled = detail.dataset.serial === String(row.serial) ? detail.scrollTop : 0;
  detail.dataset.serial = row.serial;
  detail.replaceChildren(...parts);
  detail.hidden = false;
  detail.scrollTop = scrolled;
  document.body.classList.add("has-detail");
  draw();
}

const titleOf = (row) => (row.kind === "refused" ? "Refused request" : row.kind === "empty" ? "Request without events" : row.type === "identify" ? "User identified" : "Without a name");

function facts(row) {
  const date = new Date(row.at);
  const entries = [["Received", make("span", {}, `${date.toLocaleDateString("en-CA")} ${clock(date)}.${milliseconds(date)}`)]];
  for (const [label, value] of [["User", row.user], ["Anonymous", row.anonymous]]) {
    if (value) entries.push([label, linkTo("user", value, "Show only this user")]);
  }
  if (row.source) entries.push(["Source", make("span", { class: "code" }, row.source)]);
  return make("dl", { class: "facts" }, ...entries.map(([label, value]) => make("div", {}, make("dt", {}, label), make("dd", {}, value))));
}

const linkTo = (field, value, title) =>
  make("button", { type: "button", class: "link", title, on: { click: () => only(field, value.replace(/…$/, "")) } }, visible(value));

function verdict(row, found) {
  const [title, text] = {
    duplicate: ["Duplicate", "An event of this source with the same messageId is stored already. This one is not stored again."],
    rejected: ["Rejected", `Not stored, because ${found?.why || "it is not valid"}.`],
    refused: ["Refused", "Nothing of this request was stored. The client was answered:"],
    empty: ["Empty", "A batch without events, such as millstream doctor sends to check a write key. The client was answered 200:"],
  }[row.kind] ?? [row.kind, ""];
  const head = make("strong", {}, title);
  const parts = [head, " ", make("span", {}, text)];
  if (row.reason) parts.push(" ", make("code", {}, row.reason));
  if (found?.original) {
    const original = rows.find((each) => each.id === found.original.id && each.boot === stream.boot) ?? { ...found.original, boot: stream.boot };
    parts.push(" ", make("button", { type: "button", class: "link", on: { click: () => show(original) } }, "Show the original"));
  } else if (row.kind === "duplicate" && found) {
    parts.push(" ", make("span", {}, "So many events came since that the original is no longer remembered here."));
  }
  return make("p", { class: `callout kind-${row.kind}` }, ...parts);
}

function views(found) {
  const tabs = make("div", { class: "tabs", role: "tablist", "aria-label": "View" });
  const panel = make("div", { class: "view", role: "tabpanel", id: "view" });
  const choose = (wanted) => {
    raw = wanted;
    for (const tab of tabs.children) tab.setAttribute("aria-selected", (tab.dataset.view === "raw") === raw);
    panel.replaceChildren(...(raw ? [sample(found.json)] : pretty(found)));
  };
  for (const [view, label] of [["pretty", "Pretty"], ["raw", "Raw JSON"]]) {
    tabs.append(make("button", { type: "button", role: "tab", "aria-controls": "view", "data-view": view, on: { click: () => choose(view === "raw") } }, label));
  }
  tabs.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.stopPropagation();
    choose(!raw);
    tabs.querySelector('[aria-selected="true"]').focus();
  });
  choose(raw);
  const bar = make("div", { class: "bar" }, tabs);
  if (found.body) bar.append(copier(curl(found), "Copy as curl"));
  return [bar, panel];
}

/** The command that sends an event like it. What cannot be seen is escaped, as JSON has it: a terminal might obey it. */
function curl({ row, body }) {
  const host = location.origin + location.pathname.replace(/\/$/, "");
  const units = (text) => text.split("").map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`).join("");
  const quoted = body.replace(UNSEEN, units).replaceAll("'", "'\\''");
  return `curl ${host}/v1/${row.type} -u WRITE_KEY: \\\n  -H 'Content-Type: application/json' \\\n  -d '${quoted}'\n`;
}

function pretty(found) {
  const parts = [];
  if (found.call) parts.push(make("h3", {}, "The call that makes one like it"), sample(found.call));
  parts.push(make("h3", {}, isRequest(found.row) ? "The answer" : "The event"), tree(parse(found.json)));
  return parts;
}

/** A block of code with a button that copies it. */
function sample(code, plain = false) {
  const text = printable(code);
  return make("pre", { class: "sample", tabIndex: 0 }, copier(code), make("code", {}, ...(plain ? [text] : coloured(text))));
}

/** Escape invisible characters, except line breaks. */
const printable = (code) => code.split("\n").map(visible).join("\n");

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(True|False|None|true|false|null)\b|-?\b\d[\d.]*(?:[eE][+-]?\d+)?\b|(#.*)/g;

/** Highlight code: pieces of text with a class each, for JSON and Python. */
function* coloured(code) {
  let from = 0;
  for (const match of code.matchAll(TOKEN)) {
    const [whole, string, colon, word, comment] = match;
    if (match.index > from) yield code.slice(from, match.index);
    const kind = comment ? "comment" : string ? (colon ? "key" : "string") : word ? "word" : "number";
    yield make("span", { class: kind }, string ?? whole);
    if (colon) yield colon;
    from = match.index + whole.length;
  }
  yield code.slice(from);
}

function copier(text, label = "Copy") {
  const button = make("button", { type: "button", class: "copy" }, label);
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text)) ? "Copied" : "Not allowed";
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard over plain HTTP from another machine.
  }
  const field = make("textarea", { value: text, class: "hidden" });
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

// -- the tree -----------------------------------------------------------------------------------------------------

/** A number that JavaScript cannot represent exactly. */
class Exactly {
  constructor(source) {
    this.source = source;
  }
}

const parse = (json) =>
  JSON.parse(json, (_, value, context) =>
    typeof value === "number" && context?.source !== undefined && String(value) !== context.source ? new Exactly(context.source) : value,
  );

const SHOWN = 100; // members at first
const LONG = 400; // characters at first
const ROOMY = 60; // leaves shown expanded
const branching = (value) => typeof value === "object" && value !== null && !(value instanceof Exactly);
const leaves = (value, most = ROOMY) => {
  let count = 0;
  for (const each of Object.values(value)) {
    count += branching(each) ? leaves(each, most - count) : 1;
    if (count > most) break;
  }
  return count;
};

function tree(value) {
  const box = make("div", { class: "tree" });
  if (branching(value)) fill(box, value, 0);
  else box.append(leaf(value));
  return box;
}

function fill(box, value, depth, from = 0) {
  const entries = Object.entries(value);
  for (const [name, each] of entries.slice(from, from + SHOWN)) box.append(member(name, each, depth, Array.isArray(value)));
  const left = entries.length - from - SHOWN;
  if (left > 0) {
    const more = make("button", { type: "button", class: "link more" }, `${many(left)} more`);
    more.addEventListener("click", () => {
      more.remove();
      fill(box, value, depth, from + SHOWN);
    });
    box.append(more);
  }
}

function member(name, value, depth, counted) {
  const label = make("span", { class: counted ? "index" : "key" }, visible(name));
  if (!branching(value) || !Object.keys(value).length) return make("div", { class: "leaf" }, label, branching(value) ? make("span", { class: "note" }, Array.isArray(value) ? "[ ]" : "{ }") : leaf(value));
  const size = Object.keys(value).length;
  const word = Array.isArray(value) ? (size === 1 ? "item" : "items") : size === 1 ? "field" : "fields";
  const inside = make("div", { class: "inside" });
  const branch = make("details", {}, make("summary", {}, label, make("span", { class: "note" }, `${many(size)} ${word}`)), inside);
  const grow = () => {
    if (branch.open && !inside.firstChild) fill(inside, value, depth + 1);
  };
  branch.addEventListener("toggle", grow);
  branch.open = depth < 3 && leaves(value) <= ROOMY;
  grow(); // show the panel at once; the event follows
  return branch;
}

function leaf(value) {
  if (value instanceof Exactly) return make("span", { class: "number" }, value.source);
  if (typeof value !== "string") return make("span", { class: typeof value === "number" ? "number" : "word" }, String(value));
  const box = make("span", { class: "string" }, visible(value.slice(0, LONG)));
  if (value.length > LONG) {
    const more = make("button", { type: "button", class: "link more" }, `… ${many(value.length - LONG)} more characters`);
    more.addEventListener("click", () => (box.textContent = visible(value)));
    box.append(" ", more);
  }
  return box;
}

// -- keyboard -----------------------------------------------------------------------------------------------------

const KEYS = {
  j: () => move(1),
  ArrowDown: () => move(1),
  k: () => move(-1),
  ArrowUp: () => move(-1),
  g: () => home(),
  Home: () => home(),
  Enter: () => selected && show(selected),
  r: () => open && detail.querySelector(`[data-view=${raw ? "pretty" : "raw"}]`)?.click(),
  Escape: () => close() || select(null),
  "/": () => $("filter-text").focus(),
  p: () => pause(),
  " ": () => pause(),
  "?": () => $("help").showModal(),
};

function home() {
  list.scrollTop = 0;
  if (!paused) release();
  if (rows.length) select(rowAt(0));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  const within = event.target.closest?.("a, input, textarea, select, button, summary, pre");
  if (within?.matches("input") && event.key === "Escape") {
    if (!within.value) within.blur();
    return; // a search field clears itself
  }
  if (within?.matches("input, textarea, select")) return;
  if (within && (event.key === "Enter" || event.key === " " || event.key.startsWith("Arrow"))) return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
$("help-open").addEventListener("click", () => $("help").showModal());
$("help-close").addEventListener("click", () => $("help").close());
$("help").addEventListener("click", (event) => event.target === $("help") && $("help").close());

// -- begin --------------------------------------------------------------------------------------------------------

readAddress();
history.replaceState(null, "", query() ? `?${query()}` : location.pathname); // remove the token from the address
$("filters-clear").hidden = !filtered();
drawOverview();
stream.start();
