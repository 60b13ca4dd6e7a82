// One episode: its figures, and its charts over real dates.
const FIGURES = [
  ["return", "return", "percent"], ["hold", "buy and hold", "percent"], ["excess", "excess", "percent"], ["pnl", "profit", "money"],
  ["initial", "initial value", "money"], ["final", "final value", "money"], ["sharpe", "Sharpe ratio", "ratio"], ["sortino", "Sortino ratio", "ratio"],
  ["volatility", "volatility", "percent"], ["drawdown", "max drawdown", "percent"], ["win_rate", "win rate", "percent"], ["profit_factor", "profit factor", "ratio"],
  ["trades", "closed trades", "count"], ["in_market", "time in market", "percent"], ["costs", "costs", "money"], ["turnover", "turnover", "ratio"],
  ["reward", "reward", "number"], ["steps", "steps", "count"], ["iteration", "iteration", "count"], ["trial", "trial", "text"],
];
const RATIOS = new Set(["sharpe", "sortino"]);

const nameOf = row => (row.number != null ? `Episode ${row.number}` : row.name);
function titleOf(row) {
  const dates = row.from != null && row.to != null ? `${day(row.from)} to ${day(row.to)}` : null;
  return [nameOf(row), row.market, dates].filter(Boolean).join(" · ");
}

function endWords(row) {
  const words = [];
  if (row.live) words.push("still running: more steps may follow");
  if (row.end_reason) words.push(`ended by: ${row.end_reason}`);
  if (row.reason) words.push(row.reason);
  if (row.ended_by) words.push(`row written by the ${row.ended_by}`);
  if (row.steps_lost) words.push(`${grouped(row.steps_lost, 0)} steps lost`);
  if (row.trades_lost) words.push(`${grouped(row.trades_lost, 0)} trades lost`);
  if (row.loss_unknown) words.push("an unknown number of later steps is lost");
  return words.join("; ");
}

function figureList(row) {
  const list = el("dl", { class: "figures" });
  for (const [key, label, kind] of FIGURES) {
    if (!page.has(key)) continue;
    const few = RATIOS.has(key) && row[key] != null && row.steps < FEW_STEPS ? " (few steps)" : "";
    const signed = key === "return" || key === "pnl" || key === "excess";
    list.append(el("div", {}, el("dt", {}, label), el("dd", { class: signed && row[key] ? (row[key] > 0 ? "gain" : "loss") : null }, text(row[key], kind) + few)));
  }
  return list;
}

// Draw an episode into an element; return the group of its charts, null if it has none. `one` is its curves.
function showEpisode(host, row, one) {
  host.append(el("p", {}, el("span", { class: `chip ${row.status || ""}` }, row.status || "no row"), " ", el("span", { class: "muted" }, endWords(row))), figureList(row));
  if (one?.step.length) return new EpisodeView(host, row, one).group;
  const missing = row.no_curve || "Its journal is not there: it was pruned, or is elsewhere. Only its row is known, so there are no charts.";
  host.append(el("p", { class: "notice" }, one ? "The episode has no steps, so there are no charts." : missing));
  return null;
}

class EpisodeView {
  constructor(host, row, one) {
    Object.assign(this, { host, row, one });
    this.xOf = one.timed ? one.timeOf : step => step;
    this.readout = el("div", { class: "readout", "aria-live": "polite" }, el("span", { class: "muted" }, "Point at a chart, or focus it and use the arrow keys. Drag to zoom, double-click to show all."));
    this.group = new Group("episode", x => this.read(x));
    this.derive();
    host.append(this.controls(), this.readout);
    if (one.holes.length) host.append(el("p", { class: "notice" }, `Grey stretches are lost steps: ${one.holes.slice(0, 5).map(([a, b]) => (a === b ? a : `${a}–${b}`)).join(", ")}${one.holes.length > 5 ? " …" : ""}.`));
    if (!one.timed) host.append(el("p", { class: "muted small" }, "The env does not tell its market times in order, so the charts run over steps."));
    this.draw();
    host.append(this.tradeTable());
  }

  // Curves that follow from the stored ones.
  derive() {
    const { one } = this;
    this.steps = one.step;
    this.hold = new Float64Array(one.step.length);
    this.drawdown = new Float64Array(one.step.length);
    const base = Number.isFinite(one.firstPrice) ? one.firstPrice : NaN;
    let peak = one.initial;
    one.step.forEach((step, at) => {
      if (one.value[at] > peak) peak = one.value[at];
      this.drawdown[at] = one.value[at] / peak - 1;
      this.hold[at] = one.initial * one.priceOf(step) / base;
    });
    this.holdKnown = this.hold.some(Number.isFinite);
  }

  // Points for uPlot: unknown values are gaps, and so are lost steps.
  points(steps, values, closeGaps = true) {
    const x = [], y = [];
    let hole = 0;
    steps.forEach((step, at) => {
      while (closeGaps && hole < this.one.holes.length && this.one.holes[hole][0] < step) {
        const [first, last] = this.one.holes[hole++];
        x.push((this.xOf(first) + this.xOf(last)) / 2);
        y.push(null);
      }
      x.push(this.xOf(step));
      y.push(Number.isFinite(values[at]) ? values[at] : null);
    });
    return [x, y];
  }

  draw() {
    const { one, row } = this, asset = row.market || "asset";
    const [px, py] = this.points(one.priceStep, one.price);
    const markers = one.trades.length && one.trades.length < one.tradeTotal ? `${one.trades.length} of ${one.tradeTotal} trades marked` : "";
    if (py.some(value => value != null))
      this.add({ title: `Price of ${asset}`, note: markers, x: px, kind: "number", height: 280, series: [{ label: "price", values: py, stroke: colour("ink"), width: 1.1 }],
        above: (u, ctx, ratio) => this.drawTrades(u, ctx, ratio),
        legend: legend(["up", "ink", "long opened"], ["down", "ink", "short opened"], ["dot", "gain", "closed with a gain"], ["cross", "loss", "closed with a loss"]),
        range: (u, min, max) => padded(min, max) }, one.priceStep, [["price", one.price, "number"]]);
    const [x, value] = this.points(this.steps, one.value);
    const [, hold] = this.points(this.steps, this.hold);
    const equity = [{ label: "value", values: value, stroke: colour("c1"), width: 1.6 }];
    if (this.holdKnown) equity.push({ label: "buy and hold", values: hold, stroke: colour("muted"), dash: [5, 4], width: 1.2 });
    this.add({ title: "Portfolio value", x, kind: "money", height: 230, series: equity,
      legend: this.holdKnown ? legend(["line", "c1", "portfolio"], ["dash", "muted", `buy and hold ${asset}`]) : null },
      this.steps, [["value", one.value, "money"], ...(this.holdKnown ? [["buy and hold", this.hold, "money"]] : [])]);
    const [, drawdown] = this.points(this.steps, this.drawdown);
    this.add({ title: "Drawdown", x, kind: "percent", height: 144, range: (u, min) => [Math.min(min * 1.08, -1e-4), 0],
      series: [{ label: "drawdown", values: drawdown, stroke: colour("c2"), fill: () => css("c2") + "40", width: 1 }] }, this.steps, [["drawdown", this.drawdown, "percent"]]);
    const [, position] = this.points(this.steps, one.position);
    this.add({ title: "Position", note: "units", x, kind: "number", height: 136, series: [{ label: "position", values: position, stroke: colour("c4"), fill: () => css("c4") + "33", width: 1, paths: uPlot.paths.stepped({ align: 1 }) }],
      range: (u, min, max) => padded(Math.min(min, 0), Math.max(max, 0)) }, this.steps, [["position", one.position, "number"]]);
    if (one.reward) {
      const [, reward] = this.points(this.steps, one.reward);
      this.add({ title: "Reward of each step", x, kind: "number", height: 136, series: [{ label: "reward", values: reward, stroke: colour("c3"), width: 1 }] }, this.steps, [["reward", one.reward, "number"]]);
    }
  }

  add(spec, steps, columns) {
    if (!spec.series.some(one => one.values.some(value => value != null))) return;
    const rows = () => Array.from(steps, (step, at) => [this.when(step), grouped(step, 0), ...columns.map(([, values, kind]) => text(values[at], kind))]);
    const ends = columns.map(([name, values, kind]) => `${name} from ${text(values[0], kind)} to ${text(values[values.length - 1], kind)}`).join(", ");
    chart(this.host, this.group, { ...spec, time: this.one.timed, said: ends, behind: (u, ctx) => this.shadeHoles(u, ctx),
      table: { headings: ["time", "step", ...columns.map(([name]) => name)], rows } });
  }

  when(step) {
    const seconds = this.one.timeOf(step);
    return this.one.timed && Number.isFinite(seconds) ? moment(seconds) : EMPTY;
  }

  shadeHoles(u, ctx) {
    ctx.fillStyle = css("c8") + "40";
    for (const [first, last] of this.one.holes) {
      const from = u.valToPos(this.xOf(first - 1 || 1), "x", true), to = u.valToPos(this.xOf(last + 1), "x", true);
      ctx.fillRect(from, u.bbox.top, Math.max(to - from, 1), u.bbox.height);
    }
  }

  drawTrades(u, ctx, ratio) {
    const gain = css("gain"), loss = css("loss"), ink = css("ink"), ground = css("bg");
    const dense = this.one.trades.length > 150, size = (dense ? 3 : 4.5) * ratio;
    ctx.lineWidth = ratio;
    const place = (step, time, price) => {
      const x = this.one.timed && Number.isFinite(time) ? time : this.xOf(step);
      return [u.valToPos(x, "x", true), u.valToPos(Number.isFinite(price) ? price : this.one.priceOf(step), "y", true)];
    };
    for (const trade of this.one.trades) {
      const tint = trade.pnl > 0 ? gain : loss, [x, y] = place(trade.exitStep, trade.exitTime, trade.exitPrice);
      if (trade.entryStep >= 1) {
        const [from, height] = place(trade.entryStep, trade.entryTime, trade.entryPrice);
        ctx.globalAlpha = 0.75;
        ctx.setLineDash([3 * ratio, 2 * ratio]);
        ctx.strokeStyle = tint;
        ctx.beginPath(); ctx.moveTo(from, height); ctx.lineTo(x, y); ctx.stroke();
        ctx.setLineDash([]);
        ctx.globalAlpha = 1;
        mark(ctx, trade.direction > 0 ? "up" : "down", from, height, size, ground, ink);
      }
      ctx.lineWidth = 1.6 * ratio;
      if (trade.pnl > 0) mark(ctx, "dot", x, y, size, tint); else mark(ctx, "cross", x, y, size * 0.75, null, tint);
      ctx.lineWidth = ratio;
    }
  }

  controls() {
    const button = (label, act) => el("button", { type: "button", onclick: act }, label);
    return el("div", { class: "controls" }, button("Zoom in", () => this.group.zoomBy(0.5)), button("Zoom out", () => this.group.zoomBy(2)), button("Show all", () => this.group.reset()));
  }

  read(x) {
    const { one } = this;
    let at = 0;
    for (let low = 0, high = this.steps.length - 1; low <= high;) {
      const mid = (low + high) >> 1;
      if (this.xOf(this.steps[mid]) <= x) { at = mid; low = mid + 1; } else high = mid - 1;
    }
    if (at + 1 < this.steps.length && this.xOf(this.steps[at + 1]) - x < x - this.xOf(this.steps[at])) at++;
    const step = this.steps[at];
    const parts = [["step", grouped(step, 0)], ["price", text(one.priceOf(step), "number")], ["value", text(one.value[at], "money")]];
    if (this.holdKnown) parts.push(["buy and hold", text(this.hold[at], "money")]);
    parts.push(["drawdown", text(this.drawdown[at], "percent")], ["position", text(one.position[at], "number")]);
    if (one.reward) parts.push(["reward", text(one.reward[at], "number")]);
    this.readout.replaceChildren(el("b", {}, this.when(step)), ...parts.flatMap(([name, value]) => [el("span", { class: "muted" }, name + " "), el("b", {}, value)]));
  }

  tradeTable() {
    const { one } = this, full = !one.short;
    if (!one.tradeTotal) return el("p", { class: "muted" }, "No closed trades.");
    const shown = one.trades.length < one.tradeTotal ? `${grouped(one.trades.length, 0)} of ${grouped(one.tradeTotal, 0)} closed trades: the largest profits and losses` : `${grouped(one.tradeTotal, 0)} closed trades`;
    const made = el("details", {}, el("summary", {}, shown));
    const headings = ["side", "opened", "closed", "steps held", ...(full ? ["quantity", "entry price", "exit price"] : []), "profit", ...(full ? ["costs"] : [])];
    made.addEventListener("toggle", () => {
      if (!made.open || made.childElementCount > 1) return;
      const time = (seconds, step) => (Number.isFinite(seconds) ? moment(seconds) : step >= 0 ? `step ${step}` : EMPTY);
      const rows = one.trades.map(trade => [trade.direction > 0 ? "long" : "short", time(trade.entryTime, trade.entryStep), time(trade.exitTime, trade.exitStep),
        trade.entryStep >= 0 ? grouped(trade.exitStep - trade.entryStep, 0) : EMPTY,
        ...(full ? [text(trade.quantity, "number"), text(trade.entryPrice, "number"), text(trade.exitPrice, "number")] : []),
        text(trade.pnl, "money"), ...(full ? [text(trade.costs, "money")] : [])]);
      made.append(dataTable(headings, rows, "Closed trades"));
    });
    return made;
  }
}
