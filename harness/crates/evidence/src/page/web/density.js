// The density strip: how much was said when, and how bad.

const end = count ? lines.at_us[count - 1] : 0;

/** The time on the strip: all of it, or what it was narrowed to. */
function axis() {
  const from = view.from ?? 0;
  return { from, wide: Math.max((view.until ?? end) - from, 1) };
}

// Both ends of a drag, as shares of the width.
let dragged = null;
// Lines per bucket by level, and the most of one bucket.
let density = null;

function countDensity() {
  const buckets = Math.max(1, Math.floor($("density").clientWidth / 3));
  const levels = LEVELS.map(() => new Uint32Array(buckets));
  const { from, wide } = axis();
  for (const at of shown) {
    const bucket = Math.min(buckets - 1, Math.floor(((lines.at_us[at] - from) / wide) * buckets));
    levels[lines.level[at]][bucket] += 1;
  }
  const totals = levels[0].map((errors, at) => errors + levels[1][at] + levels[2][at]);
  density = { levels, totals, most: totals.reduce((a, b) => Math.max(a, b), 1) };
}

function drawDensity() {
  const canvas = $("density");
  const scale = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * scale);
  const height = Math.round(canvas.clientHeight * scale);
  if (!width || !density) return;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
    countDensity();
  }
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name);
  const paint = canvas.getContext("2d");
  const fill = (name, left, top, wide, high) => {
    paint.fillStyle = color(name);
    paint.fillRect(left, top, wide, high);
  };
  paint.clearRect(0, 0, width, height);
  const { from: begin, wide } = axis();
  const x = (at) => (((lines.at_us[at] ?? begin) - begin) / wide) * width;
  const [left, right] = inSight().map(x);
  fill("--selected", left, 0, Math.max(right - left, 2 * scale), height);
  const bar = width / density.totals.length;
  for (const [at, total] of density.totals.entries()) {
    // Counts differ by thousands: by their root, one line is seen beside a flood.
    const whole = Math.sqrt(total / density.most) * height;
    let bottom = height;
    for (const [level, name] of ["--error", "--warning", "--density"].entries()) {
      const some = density.levels[level][at];
      if (!some) continue;
      const part = Math.max(2 * scale, (whole * some) / total);
      fill(name, at * bar, bottom - part, bar - scale, part);
      bottom -= part;
    }
  }
  if (view.at !== null) fill("--accent", Math.min(x(view.at), width - 2 * scale), 0, 2 * scale, height);
  if (dragged) {
    const [from, until] = dragged.map((share) => share * width);
    paint.globalAlpha = 0.3;
    fill("--accent", Math.min(from, until), 0, Math.abs(until - from), height);
    paint.globalAlpha = 1;
  }
}

function showAxis() {
  const { from, wide } = axis();
  $("axis-start").textContent = count ? time(from) : "";
  $("axis-end").textContent = count ? time(from + wide) : "";
  const narrowed = view.from !== null || view.until !== null;
  const [part, all] = [wide, end].map((time) => (time / 1e6).toFixed(1));
  $("range").textContent = narrowed ? `${part} s of ${all} s` : "";
  $("density").setAttribute("aria-label", `${shown.length} lines over ${(end / 1e6).toFixed(1)} seconds`);
}

/** A click goes to that time; a drag shows only that time, a double click all of it. */
function watchDensity() {
  const canvas = $("density");
  const share = (event) => Math.max(0, Math.min(1, event.offsetX / canvas.clientWidth));
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    dragged = [share(event), share(event)];
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!dragged) return;
    dragged[1] = share(event);
    drawDensity();
  });
  canvas.addEventListener("pointerup", () => {
    if (!dragged) return;
    const { from: begin, wide } = axis();
    const ends = dragged.map((part) => begin + Math.round(part * wide));
    const [from, until] = ends.sort((a, b) => a - b);
    dragged = null;
    if (until - from > wide / 200) update({ from, until });
    else select(shown.findIndex((at) => lines.at_us[at] >= from), true);
  });
  canvas.addEventListener("dblclick", () => update({ from: null, until: null }));
}

