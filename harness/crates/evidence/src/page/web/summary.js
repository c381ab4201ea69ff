// What failed and why. Whatever the data says is set as text, never as HTML.
"use strict";

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
/** An element with classes and children; strings become text. */
function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/* The summary. */

function showSummary() {
  document.title = `${data.title}: ${data.reason}`;
  $("title").textContent = data.title;
  $("reason").textContent = data.reason;
  $("made").textContent = new Date(data.made).toISOString().replace("T", " ").slice(0, 19) + " UTC";
  $("made").dateTime = data.made;
  const versions = Object.entries(data.versions).map(([name, version]) => `${name} ${version}`);
  if (data.case) versions.push(`namespace ${data.case}`);
  $("versions").textContent = versions.join(", ");
  $("message").textContent = data.message;
  for (const key of ["expected", "observed"]) {
    if (data[key]) $("comparison").append(element("dt", "", key), element("dd", "", data[key]));
  }
  $("diagnosis").append(...data.diagnosis.map(finding));
  if (!data.diagnosis.length) {
    $("diagnosis").append(element("li", "quiet", "No known cause is recognised in what was collected. "
      + "The first errors of the timeline are the place to begin."));
  }
  $("missing-section").hidden = !data.missing.length;
  $("missing").append(...data.missing.map((lost) =>
    element("li", "", element("b", "", lost.name), lost.node && ` on ${lost.node}`, `: ${lost.error}`)));
  $("files-section").hidden = !data.files.length;
  $("files").append(...data.files.map(file));
}

function finding(found) {
  const item = element("li", "", element("h3", "", found.title), element("p", "", found.cause));
  if (found.cure) item.append(element("p", "cure", element("b", "", "Cure: "), found.cure));
  for (const link of found.links.filter((link) => link.startsWith("https://"))) {
    const anchor = element("a", "", link);
    anchor.href = link;
    anchor.rel = "noreferrer";
    item.append(element("p", "quiet", anchor));
  }
  const support = element("ul", "support", ...found.lines.map(supportingLine));
  const more = found.count - found.lines.length;
  if (more > 0) support.append(element("li", "quiet", `and ${more} more`));
  item.append(support);
  return item;
}

/** A line that shows a cause; a click goes to where it stands in the timeline. */
function supportingLine(line) {
  const at = line.text.indexOf(line.matched);
  const text = element("code", "", ...(line.matched && at >= 0
    ? [line.text.slice(0, at), element("mark", "", line.matched), line.text.slice(at + line.matched.length)]
    : [line.text]));
  const place = element("span", "quiet", [line.node, line.place].filter(Boolean).join(" · "));
  if (line.entry === null) return element("li", "", element("div", "unplaced", text, place));
  const button = element("button", "", text, place);
  button.type = "button";
  button.title = "Show it in the timeline";
  button.addEventListener("click", () => jump(line.entry));
  return element("li", "", button);
}

function file({ path, what, bytes, cut }) {
  const link = element("a", "", path);
  // Each part is quoted: a path never becomes another address.
  link.href = "./" + path.split("/").map(encodeURIComponent).join("/");
  const told = [what, size(bytes), cut && "only its end: it was too long"].filter(Boolean).join(" · ");
  return element("li", "", link, element("div", "quiet", told));
}

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

showSummary();
