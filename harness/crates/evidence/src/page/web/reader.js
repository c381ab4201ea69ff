// What the reader does: tools, keys, mouse.

function watchTools() {
  $("tools").addEventListener("submit", (event) => event.preventDefault());
  $("query").addEventListener("input", () => update({ query: $("query").value }));
  $("regex").addEventListener("change", () => update({ regex: $("regex").checked }));
  $("level").addEventListener("change", () => update({ level: Number($("level").value) }));
  $("clock").addEventListener("change", () => update({ clock: $("clock").value }));
  $("reset").addEventListener("click", reset);
  $("zero").addEventListener("click", () => COMMANDS.z());
  $("from").addEventListener("click", () => COMMANDS["["]());
  $("until").addEventListener("click", () => COMMANDS["]"]());
  $("close").addEventListener("click", () => openDetail(false));
}

function reset() {
  update({ ...BLANK, clock: view.clock, at: view.at });
  fillTools();
  if (view.at !== null) reveal(placeOf(view.at), true);
}

function openDetail(open) {
  detailOpen = open;
  showDetail();
  showRows();
  if (view.at !== null) reveal(placeOf(view.at));
  if (!open) $("list").focus();
}

const page = () => Math.max(1, Math.floor($("list").clientHeight / ROW) - 1);
const place = () => (view.at === null ? -1 : placeOf(view.at));

/** Keys of the list. */
const MOVES = {
  ArrowDown: () => select(place() + 1),
  ArrowUp: () => select(place() - 1),
  PageDown: () => select(place() + page()),
  PageUp: () => select(place() - page()),
  Home: () => select(0),
  End: () => select(shown.length - 1),
  Enter: () => openDetail(!detailOpen),
};

/** Keys of the whole page, except while something is typed. */
const COMMANDS = {
  "/": () => {
    $("query").focus();
    $("query").select();
  },
  e: () => nextError(1),
  E: () => nextError(-1),
  t: () => {
    update({ clock: view.clock === "absolute" ? "relative" : "absolute" });
    fillTools();
  },
  z: () => {
    if (view.at !== null) update({ zero: view.at, clock: "relative" });
    fillTools();
  },
  "[": () => view.at !== null && update({ from: lines.at_us[view.at] }),
  "]": () => view.at !== null && update({ until: lines.at_us[view.at] }),
};

function watchKeys() {
  $("list").addEventListener("keydown", (event) => {
    const move = MOVES[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    move();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (!$("detail").hidden) openDetail(false);
      else $("list").focus();
      return;
    }
    const typing = event.target.closest("input[type=search], select");
    const command = COMMANDS[event.key];
    if (!command || typing) return;
    event.preventDefault();
    command();
  });
}

function watchList() {
  let due = false;
  const soon = () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      showRows();
    });
  };
  $("list").addEventListener("scroll", soon, { passive: true });
  new ResizeObserver(soon).observe($("list"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);
  $("rows").addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (!row) return;
    // Text that is being marked for copying is no click.
    if (!getSelection().isCollapsed) return;
    detailOpen = true;
    update({ at: Number(row.dataset.at) });
    reveal(placeOf(view.at));
  });
  // On paper there is no scrolling: the lines around the selected one.
  window.addEventListener("beforeprint", () => {
    const first = Math.max(0, placeOf(view.at ?? 0) - 150);
    const rows = shown.slice(first, first + 300).map((_, at) => row(first + at, searched()));
    $("rows").replaceChildren(...rows);
  });
  window.addEventListener("afterprint", showRows);
}

makeChips($("sources"), lines.sources, lines.source, "without");
makeChips($("layers"), layers, lines.node.map((node) => layerOfNode[node]), "layersWithout",
  "this cluster");
makeChips($("nodes"), lines.nodes, lines.node, "nodesWithout");
watchTools();
watchDensity();
watchKeys();
watchList();
window.addEventListener("hashchange", readAddress);
readAddress();
