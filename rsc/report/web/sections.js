// Learning curves and distributions of the runs.
const LEARNED = [["return", "return", "percent"], ["reward", "reward", "number"], ["sharpe", "Sharpe ratio", "ratio"], ["drawdown", "max drawdown", "percent"], ["win_rate", "win rate", "percent"],
  ["excess", "excess over buy and hold", "percent"], ["pnl", "profit", "money"], ["costs", "costs", "money"], ["turnover", "turnover", "ratio"], ["trades", "closed trades", "count"], ["steps", "steps", "count"]];
const MOST_GROUPS = 7, DOTS = 3000, BLOCKS = 60;
const groupColour = at => `c${at % 7 + 1}`;

let learning = null;
function showSections() {
  const known = LEARNED.filter(([key]) => page.has(key));
  $("learning").hidden = $("spread").hidden = !known.length || page.count < 2;
  if ($("learning").hidden) return;
  const groupings = [["run", "run"]];
  if (page.runs.length > 1 && new Set(page.runs.map(run => run.group)).size < page.runs.length) groupings.unshift(["settings", "settings, all seeds together"]);
  if (page.has("trial")) groupings.push(["trial", "Tune trial"]);
  choices($("learning-figure"), known.map(([key, label]) => [key, label]));
  choices($("learning-group"), groupings);
  $("learning-group").closest("label").hidden = groupings.length < 2;
  learning ??= new Learning();
  learning.draw();
  $("spread-charts").replaceChildren();
  for (const figure of known.filter(([key]) => ["return", "sharpe", "drawdown", "win_rate", "trades", "steps", "costs", "reward"].includes(key))) distribution($("spread-charts"), figure);
}

// The episodes by the name of their group: training episodes of runs, of settings or of trials.
function groups(by) {
  const found = new Map(), settings = new Map(page.runs.map(run => [run.id, run.group]));
  for (let index = 0; index < page.count; index++) {
    if (page.value("evaluation", index)) continue;
    const run = page.value("run", index);
    const key = by === "trial" ? page.value("trial", index) ?? run : by === "settings" ? settings.get(run) : run;
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(index);
  }
  const named = [...found].map(([key, indices]) => {
    if (by !== "settings") return [key, indices];
    const ids = page.runs.filter(run => run.group === key).map(run => run.id);
    return [ids.length > 1 ? `${ids[0]} and ${ids.length - 1} more ${ids.length === 2 ? "seed" : "seeds"}` : ids[0], indices];
  });
  return named;
}

class Learning {
  constructor() {
    for (const id of ["learning-figure", "learning-group"]) $(id).addEventListener("change", () => this.draw());
  }

  draw() {
    this.group?.destroy();
    const host = $("learning-chart"), by = $("learning-group").value, [key, label, kind] = LEARNED.find(one => one[0] === $("learning-figure").value);
    host.replaceChildren();
    const all = groups(by), shown = all.slice(0, MOST_GROUPS), counted = page.has("iteration");
    const order = new Map(shown.flatMap(([, indices]) => indices.map((index, at) => [index, counted ? page.value("iteration", index) : Math.floor(at * Math.min(BLOCKS, indices.length) / indices.length)])));
    const curves = shown.map(([, indices]) => this.quartiles(indices, order, key));
    const x = [...new Set(curves.flatMap(curve => [...curve.keys()]))].sort((a, b) => a - b);
    if (!x.length) { host.append(el("p", { class: "muted" }, "No episode has this figure.")); return; }
    const series = [], bands = [];
    curves.forEach((curve, at) => {
      const name = groupColour(at), base = series.length + 1;
      const values = part => x.map(value => curve.get(value)?.[part] ?? null);
      series.push({ label: "75 %", values: values(2), stroke: "transparent", width: 0, spanGaps: true }, { label: "25 %", values: values(0), stroke: "transparent", width: 0, spanGaps: true },
        { label: shown[at][0], values: values(1), stroke: colour(name), width: 2, spanGaps: true, dash: at >= 4 ? [6, 3] : undefined, points: { show: x.length < 3, size: 8, fill: colour(name) } });
      bands.push({ series: [base, base + 1], fill: () => css(name) + "2e" });
    });
    const dots = shown.flatMap(([, indices], at) => indices.map(index => [order.get(index), page.value(key, index), at, page.value("status", index) === "truncated"])).filter(([where, value]) => where != null && value != null);
    const range = robustRange(dots.map(dot => dot[1])), outside = dots.filter(dot => dot[1] < range[0] || dot[1] > range[1]).length;
    const cut = dots.filter(dot => dot[3]).length;
    const notes = [counted ? "median and middle half of the episodes that started in an iteration" : `no iterations are on record: median and middle half of up to ${BLOCKS} blocks of episodes in their order`];
    if (outside) notes.push(`${grouped(outside, 0)} of ${grouped(dots.length, 0)} episodes lie outside of the range and are marked at its edge`);
    if (all.length > shown.length) notes.push(`${shown.length} of ${all.length} curves are drawn`);
    this.readout = el("p", { class: "muted small", "aria-live": "polite" }, "Point at the chart to read it.");
    this.group = new Group("learning", where => {
      const near = x.reduce((best, value) => (Math.abs(value - where) < Math.abs(best - where) ? value : best), x[0]);
      this.readout.textContent = `${counted ? "iteration" : "block"} ${near}: ` + shown.map(([name], at) => { const found = curves[at].get(near); return `${shown.length > 1 ? name + " " : ""}${found ? `${text(found[1], kind)} [${text(found[0], kind)}, ${text(found[2], kind)}] of ${found[3]} episodes` : EMPTY}`; }).join("; ");
    });
    const rows = () => shown.flatMap(([name], at) => x.filter(value => curves[at].has(value)).map(value => { const found = curves[at].get(value); return [String(value), name, text(found[1], kind), text(found[0], kind), text(found[2], kind), grouped(found[3], 0), grouped(found[4], 0)]; }));
    chart(host, this.group, {
      title: `${label} over ${counted ? "iterations" : "the order of episodes"}`, note: notes.join("; "), x, kind, height: 300, series, bands, range: () => range,
      xRange: (u, min, max) => (x.length === 1 ? [x[0] - 1, x[0] + 1] : [min - (max - min) * 0.01, max + (max - min) * 0.01]), behind: (u, ctx, ratio) => this.dots(u, ctx, ratio, dots, range),
      legend: legend(...shown.map(([name], at) => [at >= 4 ? "dash" : "line", groupColour(at), name]), ["box", groupColour(0), "middle half"], ...(dots.length <= DOTS ? [["dot", "c8", "episode"]] : []), ...(cut ? [["down", "ink", `truncated episode (${cut})`]] : [])),
      table: { headings: [counted ? "iteration" : "block", "curve", "median", "25 %", "75 %", "episodes", "truncated"], rows },
    });
    host.append(this.readout);
  }

  quartiles(indices, order, key) {
    const by = new Map();
    for (const index of indices) {
      const where = order.get(index), value = page.value(key, index);
      if (where == null || value == null) continue;
      if (!by.has(where)) by.set(where, { values: [], cut: 0 });
      by.get(where).values.push(value);
      by.get(where).cut += page.value("status", index) === "truncated";
    }
    return new Map([...by].map(([where, { values, cut }]) => { const sorted = ascending(values); return [where, [quantile(sorted, 0.25), quantile(sorted, 0.5), quantile(sorted, 0.75), sorted.length, cut]]; }));
  }

  // One path for all marks of a curve: to fill and stroke each alone takes ten times as long.
  dots(u, ctx, ratio, dots, [low, high]) {
    const few = dots.length <= DOTS, ground = css("bg"), paths = new Map();
    for (const [where, value, at, cut] of dots) {
      if (!few && !cut) continue;
      const key = `${at}${cut ? "cut" : ""}`;
      if (!paths.has(key)) paths.set(key, { path: new Path2D(), at, cut });
      outline(paths.get(key).path, cut ? "down" : "dot", u.valToPos(where, "x", true), u.valToPos(Math.min(Math.max(value, low), high), "y", true), (cut ? 3.6 : 2) * ratio);
    }
    ctx.lineWidth = 1.2 * ratio;
    for (const { path, at, cut } of paths.values()) {
      ctx.globalAlpha = cut ? 0.9 : 0.4;
      ctx.fillStyle = cut ? ground : css(groupColour(at));
      ctx.fill(path);
      if (!cut) continue;
      ctx.strokeStyle = css(groupColour(at));
      ctx.stroke(path);
    }
    ctx.globalAlpha = 1;
  }
}

// A range that one outlier does not decide.
function robustRange(values) {
  const sorted = ascending(values);
  let [low, high] = [sorted[0], sorted[sorted.length - 1]];
  if (sorted.length >= 20) {
    const [p, q] = [quantile(sorted, 0.02), quantile(sorted, 0.98)], gap = (q - p) * 0.5;
    low = Math.max(low, p - gap);
    high = Math.min(high, q + gap);
  }
  return padded(low, high);
}

function distribution(host, [key, label, kind]) {
  const all = groups(page.runs.length > 1 ? "run" : page.has("trial") && new Set(page.columns.trial).size <= MOST_GROUPS ? "trial" : "run").slice(0, MOST_GROUPS);
  const samples = all.map(([name, indices]) => [name, ascending(indices.map(index => page.value(key, index)))]).filter(([, values]) => values.length);
  if (!samples.length) return;
  const every = samples.length === 1 ? samples[0][1] : ascending(samples.flatMap(([, values]) => [...values])), bins = Math.max(1, Math.min(24, Math.ceil(Math.sqrt(every.length)) * 2));
  let [low, high] = [every[0], every[every.length - 1]];
  if (every.length >= 20) { const [p, q] = [quantile(every, 0.01), quantile(every, 0.99)]; low = Math.max(low, p - (q - p) * 0.1); high = Math.min(high, q + (q - p) * 0.1); }
  if (high === low) high = low + (Math.abs(low) || 1) * 0.1;
  const width = (high - low) / bins, outside = every.filter(value => value < low || value > high).length;
  const counts = samples.map(([, values]) => {
    const made = new Array(bins).fill(0);
    for (const value of values) if (value >= low && value <= high) made[Math.min(bins - 1, Math.floor((value - low) / width))]++;
    return made.map(count => count / values.length);
  });
  const top = Math.max(...counts.flat()) || 1, W = 340, H = 110;
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H + 16}`, width: "100%", role: "img" });
  const said = samples.map(([name, values]) => `${name}: median ${text(quantile(values, 0.5), kind)}, from ${text(values[0], kind)} to ${text(values[values.length - 1], kind)}, ${values.length} episodes`).join("; ");
  picture.setAttribute("aria-label", `Distribution of ${label}. ${said}`);
  counts.forEach((made, at) => {
    const name = groupColour(at), X = bin => (W * bin / bins).toFixed(1), Y = part => (H - (H - 6) * part / top).toFixed(1);
    let path = `M0 ${H}`;
    made.forEach((part, bin) => { path += `V${Y(part)}H${X(bin + 1)}`; });
    picture.append(svg("path", { d: `${path}V${H}Z`, fill: `var(--${name})`, "fill-opacity": samples.length > 1 ? 0.12 : 0.35, stroke: `var(--${name})`, "stroke-width": 1.3, ...(at >= 4 ? { "stroke-dasharray": "5 3" } : {}) }));
    const middle = (W * (quantile(samples[at][1], 0.5) - low) / (high - low)).toFixed(1);
    picture.append(svg("path", { d: `M${middle} ${H}V4`, stroke: `var(--${name})`, "stroke-width": 2, "stroke-dasharray": "2 3" }));
  });
  const write = (x, words, anchor) => { const made = svg("text", { x, y: H + 13, "text-anchor": anchor, "font-size": 11, fill: "var(--muted)" }); made.textContent = words; picture.append(made); };
  write(0, text(low, kind), "start"); write(W, text(high, kind), "end");
  picture.append(svg("path", { d: `M0 ${H}H${W}`, stroke: "var(--muted)", "stroke-width": 1 }));
  const note = outside ? ` ${grouped(outside, 0)} of ${grouped(every.length, 0)} outside of the range` : "";
  const rows = () => samples.flatMap(([name], at) => counts[at].map((part, bin) => [name, text(low + bin * width, kind), text(low + (bin + 1) * width, kind), grouped(Math.round(part * samples[at][1].length), 0)]));
  host.append(el("figure", {}, el("figcaption", {}, label, el("span", { class: "muted" }, `  dotted: median${note ? ";" + note : ""}`)), picture,
    samples.length > 1 ? legend(...samples.map(([name], at) => [at >= 4 ? "dash" : "line", groupColour(at), name])) : "", asTable(label, ["run", "from", "to", "episodes"], rows)));
}
