// The timeline: filters, the list of lines, and the address that names a view.

const lines = data.timeline;
const count = lines.text.length;
const LEVELS = ["error", "warning", "info"];

// A node of a cluster around this one is named behind the clusters on the way to it.
const layerOf = (node) => node.slice(0, Math.max(0, node.lastIndexOf("/")));
const layers = [...new Set(lines.nodes.map(layerOf))].sort();
const layerOfNode = lines.nodes.map((node) => layers.indexOf(layerOf(node)));

// What is searched: prepared once, so that a filter is one pass over it.
const lower = lines.text.map((text) => text.toLowerCase());

/* What is shown. All of it is in the address, so that a view can be linked. */

const BLANK = {
  query: "", regex: false, level: 2, without: [], layersWithout: [], nodesWithout: [], from: null, until: null,
  clock: "absolute", zero: 0, at: null,
};
let view = { ...BLANK };
// The numbers of the lines that pass the filters, in order.
let shown = [];

/* Times. */

function absolute(at) {
  return new Date((lines.start_us + at) / 1000).toISOString();
}

function relative(at) {
  const seconds = (at - (lines.at_us[view.zero] ?? 0)) / 1e6;
  return (seconds < 0 ? "−" : "+") + Math.abs(seconds).toFixed(3) + " s";
}

function time(at) {
  return view.clock === "relative" ? relative(at) : absolute(at).slice(11, 23);
}

/* Filters. */

/** Says whether a line has what is searched, or null when the search makes no sense. */
function matcher() {
  $("problem").textContent = "";
  $("query").setAttribute("aria-invalid", "false");
  if (!view.query) return () => true;
  if (!view.regex) {
    const wanted = view.query.toLowerCase();
    return (at) => lower[at].includes(wanted);
  }
  const pattern = searched();
  if (!pattern) {
    $("problem").textContent = "This is no regular expression yet.";
    $("query").setAttribute("aria-invalid", "true");
    return null;
  }
  return (at) => {
    pattern.lastIndex = 0;
    return pattern.test(lines.text[at]);
  };
}

/** What is searched as a regular expression, also for marking it in a line. */
function searched() {
  const source = view.regex ? view.query : view.query.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  try {
    return source ? new RegExp(source, "gi") : null;
  } catch {
    return null;
  }
}

/** Finds the lines to show, and how many each chip would show with the other filters as they are. */
function filter() {
  const matches = matcher();
  if (!matches) return;
  const sourceOn = lines.sources.map((name) => !view.without.includes(name));
  const layerOn = layers.map((name) => !view.layersWithout.includes(name));
  const nodeOn = lines.nodes.map((name) => !view.nodesWithout.includes(name));
  const perSource = lines.sources.map(() => 0);
  const perLayer = layers.map(() => 0);
  const perNode = lines.nodes.map(() => 0);
  const from = view.from ?? -Infinity;
  const until = view.until ?? Infinity;
  shown = [];
  for (let at = 0; at < count; at++) {
    const time = lines.at_us[at];
    if (lines.level[at] > view.level || time < from || time > until || !matches(at)) continue;
    const inLayer = layerOfNode[lines.node[at]];
    const source = sourceOn[lines.source[at]];
    const layer = layerOn[inLayer];
    const node = nodeOn[lines.node[at]];
    if (layer && node) perSource[lines.source[at]] += 1;
    if (source && node) perLayer[inLayer] += 1;
    if (source && layer) perNode[lines.node[at]] += 1;
    if (source && layer && node) shown.push(at);
  }
  showChips($("sources"), sourceOn, perSource);
  showChips($("layers"), layerOn, perLayer);
  showChips($("nodes"), nodeOn, perNode);
  const number = (value) => value.toLocaleString("en");
  $("shown").textContent = `${number(shown.length)} of ${number(count)} lines`;
  $("nothing").hidden = shown.length > 0;
  $("list").hidden = shown.length === 0;
  $("rows").style.height = `${shown.length * ROW}px`;
  countDensity();
}

/** The switches of one kind, with what stands on one without a name. They are made once: one that was
    pressed keeps the focus. */
function makeChips(box, names, column, without, unnamed = "no node") {
  const present = new Set(column);
  for (const [at, name] of names.entries()) {
    if (!present.has(at)) continue;
    const dot = box === $("sources") ? [element("span", `dot ${name}`)] : [];
    const chip = element("button", "chip", ...dot, name || unnamed, element("small", ""));
    chip.type = "button";
    chip.dataset.at = at;
    chip.title = "Leave out or show; double-click, or with Shift: show nothing else";
    const only = () => update({ [without]: names.filter((other) => other !== name) });
    chip.addEventListener("dblclick", only);
    chip.addEventListener("click", (event) => {
      const others = view[without].filter((other) => other !== name);
      if (event.shiftKey) only();
      else update({ [without]: others.length < view[without].length ? others : [...others, name] });
    });
    box.append(chip);
  }
  box.hidden = present.size < 2;
}

function showChips(box, on, counts) {
  for (const chip of box.children) {
    const at = Number(chip.dataset.at);
    chip.setAttribute("aria-pressed", String(on[at]));
    chip.lastChild.textContent = counts[at].toLocaleString("en");
  }
}

/* The list: only the rows in sight are in the page. */

const ROW = parseInt(getComputedStyle(document.documentElement).getPropertyValue("--row"), 10);

function showRows() {
  const list = $("list");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
  const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 5);
  const marks = searched();
  const rows = [];
  for (let place = first; place < last; place++) rows.push(row(place, marks));
  $("rows").replaceChildren(...rows);
  const selected = $(`line-${view.at}`);
  if (selected) list.setAttribute("aria-activedescendant", selected.id);
  else list.removeAttribute("aria-activedescendant");
  drawDensity();
}

// Of several nodes, what tells them apart; of one, nothing: the text needs the room.
const nodeNames = (() => {
  const parts = lines.nodes.map((name) => name.split("-"));
  const named = parts.filter((name) => name.join("-") !== "");
  if (named.length < 2) return parts.map(() => "");
  let same = 0;
  while (named.every((name) => name.length > same + 1 && name[same] === named[0][same])) same += 1;
  return parts.map((name) => name.slice(name[0] ? same : 0).join("-"));
})();
const widest = Math.min(28, Math.max(0, ...nodeNames.map((name) => name.length)));
document.documentElement.style.setProperty("--node-width", widest ? `calc(${widest}ch + 14px)` : "0");

/** The first and the last line in sight. */
function inSight() {
  const { scrollTop, clientHeight } = $("list");
  const at = (offset) => shown[Math.max(0, Math.min(shown.length - 1, Math.floor(offset / ROW)))];
  return [at(scrollTop), at(scrollTop + clientHeight - 1)];
}

function row(place, marks) {
  const at = shown[place];
  const source = lines.sources[lines.source[at]];
  const level = LEVELS[lines.level[at]];
  // Colour alone tells nothing to many readers.
  const letter = element("span", "level", level === "info" ? "" : level[0].toUpperCase());
  letter.setAttribute("aria-label", level);
  const made = element("div", `row ${level}`, letter,
    element("span", "at", time(lines.at_us[at])),
    element("span", `source ${source}`, source),
    element("span", "node", nodeNames[lines.node[at]]),
    marked(lines.text[at].replaceAll("\n", " ⏎ "), marks));
  made.id = `line-${at}`;
  made.style.top = `${place * ROW}px`;
  made.dataset.at = at;
  made.setAttribute("role", "option");
  made.setAttribute("aria-selected", String(at === view.at));
  made.setAttribute("aria-setsize", shown.length);
  made.setAttribute("aria-posinset", place + 1);
  return made;
}

/** A line's text with what was searched marked. */
function marked(text, marks) {
  const made = element("span", "text");
  let end = 0;
  for (const match of marks ? text.matchAll(marks) : []) {
    if (!match[0]) continue;
    made.append(text.slice(end, match.index), element("mark", "", match[0]));
    end = match.index + match[0].length;
  }
  made.append(text.slice(end));
  return made;
}

/** The place of a line among those shown, or of the next one after it. */
function placeOf(at) {
  let low = 0;
  let high = shown.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (shown[middle] < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Scrolls to a place unless it is in sight; a jump puts it in the middle. */
function reveal(place, inTheMiddle) {
  const list = $("list");
  const top = place * ROW;
  const hidden = top < list.scrollTop || top + ROW > list.scrollTop + list.clientHeight;
  if (inTheMiddle && hidden) list.scrollTop = top - (list.clientHeight - ROW) / 2;
  else if (top < list.scrollTop) list.scrollTop = top;
  else if (hidden) list.scrollTop = top + ROW - list.clientHeight;
}

function select(place, inTheMiddle = false) {
  if (!shown.length) return;
  place = Math.max(0, Math.min(shown.length - 1, place));
  update({ at: shown[place] });
  reveal(place, inTheMiddle);
}

/** Goes to a line, also if filters hide it: then they are taken back. */
function jump(at) {
  if (shown[placeOf(at)] !== at) {
    update({ ...BLANK, clock: view.clock, zero: view.zero });
    fillTools();
  }
  select(placeOf(at), true);
  $("timeline").scrollIntoView({ block: "nearest" });
  $("list").focus({ preventScroll: true });
}

function nextError(step) {
  let place = placeOf(view.at ?? 0) + (view.at === null && step > 0 ? 0 : step);
  while (place >= 0 && place < shown.length && lines.level[shown[place]] !== 0) place += step;
  if (place >= 0 && place < shown.length) select(place, true);
}

/* The whole line. */

function showDetail() {
  const open = view.at !== null && detailOpen;
  $("detail").hidden = !open;
  if (!open) return;
  const at = view.at;
  const facts = [absolute(lines.at_us[at]), relative(lines.at_us[at]), lines.sources[lines.source[at]],
    lines.nodes[lines.node[at]], LEVELS[lines.level[at]]];
  $("detail-facts").textContent = facts.filter(Boolean).join(" · ");
  $("detail-text").textContent = lines.text[at];
}
let detailOpen = false;

/* The view and the address. */

/** Changes the view, shows it and puts it into the address. */
function update(change) {
  view = { ...view, ...change };
  show(Object.keys(change).every((key) => ["at", "clock", "zero"].includes(key)));
  // Browsers refuse an address that changes with every key.
  clearTimeout(addressDue);
  addressDue = setTimeout(() => history.replaceState(null, "", "#" + address()), 200);
}
let addressDue;

function show(sameLines = false) {
  if (!sameLines) {
    const anchor = anchorLine();
    filter();
    if (anchor) $("list").scrollTop = placeOf(anchor.at) * ROW - anchor.offset;
  }
  showRows();
  showDetail();
  showAxis();
}

/** A line that stays where it is while filters change: the selected one, else the topmost. */
function anchorLine() {
  const { scrollTop, clientHeight } = $("list");
  const offset = (place) => place * ROW - scrollTop;
  const selected = view.at === null ? -1 : shown.indexOf(view.at);
  if (selected >= 0 && offset(selected) >= 0 && offset(selected) < clientHeight) {
    return { at: view.at, offset: offset(selected) };
  }
  const top = Math.floor(scrollTop / ROW);
  return top > 0 && top < shown.length ? { at: shown[top], offset: offset(top) } : null;
}

function address() {
  const parts = new URLSearchParams();
  if (view.query) parts.set("q", view.query);
  if (view.regex) parts.set("regex", "1");
  if (view.level !== 2) parts.set("level", LEVELS[view.level]);
  for (const name of view.without) parts.append("without", name);
  for (const name of view.layersWithout) parts.append("layer-without", name);
  for (const name of view.nodesWithout) parts.append("node-without", name);
  if (view.from !== null) parts.set("from", view.from);
  if (view.until !== null) parts.set("until", view.until);
  if (view.clock !== "absolute") parts.set("clock", view.clock);
  if (view.zero) parts.set("zero", view.zero);
  if (view.at !== null) parts.set("at", view.at);
  return parts.toString();
}

/** Takes the view out of the address; what makes no sense there is left out. */
function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const whole = (name, most) => {
    const value = parts.has(name) ? Number(parts.get(name)) : NaN;
    return Number.isInteger(value) && value >= 0 && value <= most ? value : null;
  };
  const level = LEVELS.indexOf(parts.get("level"));
  view = {
    query: parts.get("q") ?? "",
    regex: parts.get("regex") === "1",
    level: level < 0 ? 2 : level,
    without: parts.getAll("without").filter((name) => lines.sources.includes(name)),
    layersWithout: parts.getAll("layer-without").filter((name) => layers.includes(name)),
    nodesWithout: parts.getAll("node-without").filter((name) => lines.nodes.includes(name)),
    from: whole("from", end),
    until: whole("until", end),
    clock: parts.get("clock") === "relative" ? "relative" : "absolute",
    zero: whole("zero", count - 1) ?? 0,
    at: whole("at", count - 1),
  };
  fillTools();
  show();
  if (view.at !== null) reveal(placeOf(view.at), true);
  else if (!location.hash) reveal(placeOf(decisive()), true);
}

/** The line to begin with: the first that shows a cause, else the last before it was over. */
function decisive() {
  const supporting = data.diagnosis.flatMap((found) => found.lines);
  return supporting.find((line) => line.entry !== null)?.entry ?? count - 1;
}

function fillTools() {
  $("query").value = view.query;
  $("regex").checked = view.regex;
  $("level").value = String(view.level);
  $("clock").value = view.clock;
}
