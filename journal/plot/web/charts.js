// Charts with one common cursor and zoom. Mouse, touch and keyboard move the same cursor.
const HEIGHT = 190;

// The charts of one episode, or a chart alone.
class Group {
  constructor(label, onPoint) {
    this.label = label;
    this.onPoint = onPoint;
    this.charts = [];
    this.observers = [];
    this.busy = false;
    this.redraw = () => this.charts.forEach(u => u.redraw(false));
    redraws.add(this.redraw);
  }

  get x() { return this.charts[0].data[0]; }

  point(value, origin) {
    if (this.busy || !Number.isFinite(value)) return;
    this.busy = true;
    this.at = value;
    for (const u of this.charts)
      if (u !== origin) u.setCursor({ left: u.valToPos(value, "x"), top: u.over.clientHeight / 2 }, false);
    this.busy = false;
    this.onPoint?.(value);
  }

  zoom(min, max) {
    const [first, last] = [this.x[0], this.x[this.x.length - 1]];
    if (!(max > min)) return;
    for (const u of this.charts) u.setScale("x", { min: Math.max(min, first), max: Math.min(max, last) });
  }

  // What is in view; null if that is everything.
  get view() {
    const { min, max } = this.charts[0]?.scales.x ?? {};
    return min > this.x[0] || max < this.x[this.x.length - 1] ? { min, max } : null;
  }

  reset() { this.zoom(this.x[0], this.x[this.x.length - 1]); }

  zoomBy(part) {
    const { min, max } = this.charts[0].scales.x, middle = this.at >= min && this.at <= max ? this.at : (min + max) / 2;
    this.zoom(middle - (middle - min) * part, middle + (max - middle) * part);
  }

  key(event) {
    const x = this.x, near = this.charts[0].valToIdx(this.at ?? x[0]);
    const step = event.shiftKey ? 10 : 1;
    const to = { ArrowLeft: near - step, ArrowRight: near + (this.at == null ? 0 : step), Home: 0, End: x.length - 1 }[event.key];
    if (to !== undefined) this.point(x[Math.min(Math.max(to, 0), x.length - 1)]);
    else if (event.key === "+" || event.key === "=") this.zoomBy(0.5);
    else if (event.key === "-") this.zoomBy(2);
    else if (event.key === "0") this.reset();
    else return;
    event.preventDefault();
  }

  destroy() {
    redraws.delete(this.redraw);
    this.observers.forEach(observer => observer.disconnect());
    this.charts.forEach(u => u.destroy());
    this.charts = [];
  }
}

const axisSize = (u, values) => (values ? Math.max(34, 16 + 6.6 * Math.max(...values.map(value => String(value ?? "").length))) : 46);
const colour = name => () => css(name);

function axis(kind, side) {
  const base = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1, size: 4 }, font: "12px system-ui, sans-serif" };
  if (side) return { ...base, size: axisSize, gap: 4, space: 34, values: (u, splits) => splits.map(value => (value == null ? "" : tick(value, kind, splits))) };
  return kind === "time" ? { ...base, size: 46, space: 64, values: uPlotDates } : { ...base, size: 34, space: 64, values: (u, splits) => splits.map(value => (Number.isInteger(value) ? grouped(value, 0) : "")) };
}

// Years, months and days in the order of ISO 8601.
const uPlotDates = [
  [31536000, "{YYYY}", null, null, null, null, null, null, 1],
  [2419200, "{YYYY}-{MM}", null, null, null, null, null, null, 1],
  [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{YYYY}-{MM}-{DD}", null, null, null, null, null, 1],
  [0.001, "{HH}:{mm}:{ss}", "\n{YYYY}-{MM}-{DD}", null, null, null, null, null, 1],
];

function tick(value, kind, splits) {
  const gap = splits.length > 1 ? Math.abs(splits[1] - splits[0]) : Math.abs(value);
  if (kind === "percent") return grouped(value * 100, gap >= 0.01 ? 0 : gap >= 0.001 ? 1 : 2) + "%";
  if (Math.abs(value) >= 1e7 || (gap && gap < 1e-6)) return value.toExponential(2);
  return grouped(value, gap >= 1 ? 0 : Math.min(6, Math.ceil(-Math.log10(gap || 1))));
}

// Draw one chart and add it to its group.
//   host: the element; it is made focusable. spec: {title, note, x, time, kind, series: [{label, values, stroke, ...}],
//   height, range, bands, behind: (u, ctx), above: (u, ctx), table: {headings, rows}, said}
function chart(host, group, spec) {
  const label = `${spec.title}${spec.said ? ": " + spec.said : ""}. Arrow keys move the cursor, plus and minus zoom, 0 shows all.`;
  const plot = el("div", { class: "plot", tabindex: 0, role: "img", "aria-label": label, onkeydown: event => group.key(event) });
  const figure = el("figure", {}, el("figcaption", {}, spec.title, spec.note ? el("span", { class: "muted" }, "  " + spec.note) : null), plot);
  if (spec.legend) figure.append(spec.legend);
  if (spec.table) figure.append(asTable(spec.title, spec.table.headings, spec.table.rows));
  host.append(figure);
  const clipped = draw => u => {
    if (!draw) return;
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    draw(u, ctx, devicePixelRatio || 1);
    ctx.restore();
  };
  const options = {
    width: Math.max(plot.clientWidth, 120), height: spec.height || HEIGHT, legend: { show: false }, bands: spec.bands || [], padding: [8, 10, 0, 0],
    tzDate: seconds => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    scales: { x: { time: Boolean(spec.time), ...(spec.xRange ? { range: spec.xRange } : {}) }, y: { range: spec.range || ((u, min, max) => padded(min, max)) } },
    axes: [axis(spec.time ? "time" : "step", false), axis(spec.kind, true)],
    series: [{}, ...spec.series.map(({ values, ...one }) => ({ spanGaps: false, points: { show: false }, width: 1.4, ...one }))],
    cursor: { y: false, drag: { x: true, y: false, setScale: false }, points: { size: 7 }, bind: { dblclick: () => () => { group.reset(); return null; } } },
    hooks: {
      drawAxes: [clipped(spec.behind)],
      draw: [clipped(spec.above)],
      setCursor: [u => { if (u.cursor.left >= 0) group.point(u.posToVal(u.cursor.left, "x"), u); }],
      setSelect: [u => {
        if (u.select.width < 4) return;
        group.zoom(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
        u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      }],
    },
  };
  const u = new uPlot(options, [spec.x, ...spec.series.map(one => one.values)], plot);
  const touched = event => group.point(u.posToVal(event.touches[0].clientX - u.over.getBoundingClientRect().left, "x"));
  u.over.addEventListener("touchstart", touched, { passive: true });
  u.over.addEventListener("touchmove", touched, { passive: true });
  const observer = new ResizeObserver(() => { if (plot.clientWidth) u.setSize({ width: plot.clientWidth, height: options.height }); });
  observer.observe(plot);
  group.observers.push(observer);
  group.charts.push(u);
  return u;
}

function padded(min, max) {
  if (!Number.isFinite(min) || !Number.isFinite(max)) return [0, 1];
  const gap = (max - min) * 0.06 || Math.abs(max) * 0.05 || 1;
  return [min - gap, max + gap];
}

// Add a mark to a path, or to the current path of a canvas.
function outline(path, shape, x, y, size) {
  if (shape === "up") { path.moveTo(x, y - size); path.lineTo(x + size, y + size * 0.8); path.lineTo(x - size, y + size * 0.8); path.closePath(); }
  else if (shape === "down") { path.moveTo(x, y + size); path.lineTo(x + size, y - size * 0.8); path.lineTo(x - size, y - size * 0.8); path.closePath(); }
  else if (shape === "cross") { path.moveTo(x - size, y - size); path.lineTo(x + size, y + size); path.moveTo(x + size, y - size); path.lineTo(x - size, y + size); }
  else { path.moveTo(x + size * 0.85, y); path.arc(x, y, size * 0.85, 0, 7); }
}

function mark(ctx, shape, x, y, size, fill, stroke) {
  ctx.beginPath();
  outline(ctx, shape, x, y, size);
  if (fill) { ctx.fillStyle = fill; ctx.fill(); }
  if (stroke) { ctx.strokeStyle = stroke; ctx.stroke(); }
}

function legend(...items) {
  return el("ul", { class: "legend" }, ...items.map(([shape, name, words]) => {
    const canvas = svg("svg", { viewBox: "0 0 20 12", "aria-hidden": "true" });
    const paint = { stroke: `var(--${name})`, fill: "none", "stroke-width": 1.6 };
    if (shape === "line" || shape === "dash") canvas.append(svg("path", { d: "M1 6H19", ...paint, ...(shape === "dash" ? { "stroke-dasharray": "4 3" } : {}) }));
    else if (shape === "box") canvas.append(svg("rect", { x: 2, y: 2, width: 16, height: 8, fill: `var(--${name})`, opacity: 0.35 }));
    else if (shape === "cross") canvas.append(svg("path", { d: "M6 2L14 10M14 2L6 10", ...paint }));
    else if (shape === "dot") canvas.append(svg("circle", { cx: 10, cy: 6, r: 3.6, fill: `var(--${name})` }));
    else canvas.append(svg("path", { d: shape === "up" ? "M10 1L15.5 10.5H4.5Z" : "M10 11L15.5 1.5H4.5Z", ...paint }));
    return el("li", {}, canvas, words);
  }));
}
