// The table of episodes: only the rows in view exist, so that thousands of them sort and scroll without a pause.
const COLUMNS = [
  ["name", "episode", "text", 0], ["run", "run", "text", 1], ["spark", "value", "spark", 0], ["status", "status", "text", 0], ["end_reason", "end", "text", 9],
  ["ended_by", "row by", "text", 9], ["iteration", "iteration", "count", 2], ["market", "market", "text", 3], ["from", "from", "day", 4], ["to", "to", "day", 9],
  ["steps", "steps", "count", 2], ["trades", "trades", "count", 2], ["return", "return", "percent", 0], ["hold", "buy and hold", "percent", 4], ["excess", "excess", "percent", 9],
  ["sharpe", "Sharpe", "ratio", 1], ["sortino", "Sortino", "ratio", 9], ["drawdown", "drawdown", "percent", 1], ["volatility", "volatility", "percent", 9],
  ["win_rate", "win rate", "percent", 3], ["profit_factor", "profit factor", "ratio", 9], ["pnl", "profit", "money", 9], ["reward", "reward", "number", 3],
  ["costs", "costs", "money", 3], ["turnover", "turnover", "ratio", 9], ["in_market", "in market", "percent", 9], ["trial", "trial", "text", 9],
  ["evaluation", "evaluation", "flag", 9], ["steps_lost", "steps lost", "count", 9], ["trades_lost", "trades lost", "count", 9], ["start", "started", "time", 9], ["journal", "journal", "text", 9],
];
const SEARCHED = ["name", "run", "status", "end_reason", "ended_by", "market", "trial", "journal", "reason"];
const COMPARE = { "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b, "=": (a, b) => a === b, "!=": (a, b) => a !== b };

class Filter {
  // Throws an Error with words for the user if a condition makes no sense.
  constructor(typed, status) {
    const spaced = typed.replace(/\s*(<=|>=|!=|=|<|>)\s*/g, "$1");
    this.tests = spaced.split(/\s+/).filter(Boolean).map(part => Filter.test(part));
    if (status) this.tests.push(index => page.value("status", index) === status);
  }

  static test(part) {
    const found = /^([^<>=!]+)(<=|>=|!=|=|<|>)(.*)$/.exec(part);
    if (!found) {
      const word = part.toLowerCase();
      return index => page.words(index).includes(word);
    }
    const [, name, operator, wanted] = found;
    const key = name.toLowerCase(), column = COLUMNS.find(one => one[0] === key || one[1].toLowerCase().replaceAll(" ", "_") === key);
    if (!column || column[2] === "spark") throw new Error(`there is no column "${name}"`);
    const compare = COMPARE[operator], kind = column[2];
    if (kind === "text" || kind === "flag") return index => { const value = page.value(column[0], index); return value != null && compare(text(value, kind).toLowerCase(), wanted.toLowerCase()); };
    const limit = kind === "day" || kind === "time" ? Date.parse(wanted + (wanted.length < 11 ? "T00:00Z" : "Z")) / 1000 : wanted.endsWith("%") ? Number(wanted.slice(0, -1)) / 100 : Number(wanted);
    if (wanted === "" || Number.isNaN(limit)) throw new Error(`"${wanted}" is no value for "${name}"`);
    return index => { const value = page.value(column[0], index); return value != null && compare(value, limit); };
  }

  passes(index) { return this.tests.every(test => test(index)); }
}

const MOST_HEIGHT = 544;  // of the window of the table, in pixels
const counted = count => `${grouped(count, 0)} ${count === 1 ? "episode" : "episodes"}`;

class EpisodeTable {
  constructor() {
    this.window = $("window");
    this.head = $("table").tHead;
    this.body = $("table").tBodies[0];
    this.chooseColumns();
    this.sort = { key: null, down: false };
    this.active = 0;
    this.order = [];
    this.fillStatuses();
    this.fillColumns();
    for (const [id, event] of [["filter", "input"], ["status", "change"]]) $(id).addEventListener(event, () => this.apply());
    $("filters").addEventListener("submit", event => event.preventDefault());
    this.window.addEventListener("scroll", () => this.later());
    this.window.addEventListener("keydown", event => this.key(event));
    this.body.addEventListener("click", event => { const row = event.target.closest("tr.row"); if (row) this.open(Number(row.dataset.at)); });
    for (const query of ["(max-width: 640px)", "(max-width: 1000px)"]) matchMedia(query).addEventListener("change", () => { this.chooseColumns(); this.fillColumns(); this.build(); });
    redraws.add(() => this.render());
    this.apply();
    $("episodes").hidden = false;
  }

  chooseColumns() {
    this.offered = new Set(COLUMNS.filter(([key]) => this.exists(key)).map(([key]) => key));
    this.shown = new Set(COLUMNS.filter(([key, , , rank]) => this.fits(rank) && this.offered.has(key)).map(([key]) => key));
  }

  exists(key) { return key === "name" || (key === "spark" ? page.has("curve") : key === "run" ? page.runs.length > 1 : page.has(key)); }
  fits(rank) { return rank < (innerWidth <= 640 ? 1 : innerWidth <= 1000 ? 3 : 9); }
  get rowHeight() { return innerWidth <= 640 ? 44 : 36; }
  // To measure the table before it is shown would lay out the page once more.
  get view() { return $("episodes").hidden ? MOST_HEIGHT : this.window.clientHeight; }
  get top() { return $("episodes").hidden ? 0 : this.window.scrollTop; }
  get columns() { return COLUMNS.filter(([key]) => this.shown.has(key)); }

  fillStatuses() {
    const found = [...new Set(page.columns.status || [])].filter(Boolean).sort();
    choices($("status"), [["", "all"], ...found.map(name => [name, name])]);
    $("status").closest("label").hidden = found.length < 2;
  }

  fillColumns() {
    $("columns").replaceChildren(...COLUMNS.filter(([key]) => key !== "name" && this.exists(key)).map(([key, label]) => el("label", {},
      el("input", { type: "checkbox", checked: this.shown.has(key), onchange: event => { if (event.target.checked) this.shown.add(key); else this.shown.delete(key); this.build(); } }), label)));
  }

  // `keep`: leave the place of the cursor and of the window alone.
  apply(keep = false) {
    let filter;
    try { filter = new Filter($("filter").value, $("status").value); } catch (error) {
      $("count").textContent = error.message;
      $("filter").setAttribute("aria-invalid", "true");
      return;
    }
    $("filter").removeAttribute("aria-invalid");
    this.order = [];
    for (let index = 0; index < page.count; index++) if (filter.passes(index)) this.order.push(index);
    this.sorted();
    if (!keep) this.active = 0;
    if (!keep && this.top) this.window.scrollTop = 0;
    $("count").textContent = this.order.length === page.count ? counted(page.count) : `${grouped(this.order.length, 0)} of ${counted(page.count)}`;
    if (keep) this.render(); else this.build();
  }

  sorted() {
    const { key, down } = this.sort;
    this.order.sort((a, b) => a - b);
    if (key === null) return;
    const sign = down ? -1 : 1, value = index => page.value(key === "name" && page.has("number") ? "number" : key, index);
    this.order.sort((a, b) => {
      const left = value(a), right = value(b);
      if (left == null || right == null) return (left == null) - (right == null);  // unknown ones last
      return sign * (left < right ? -1 : left > right ? 1 : 0) || a - b;
    });
  }

  sortBy(key, kind) {
    const first = kind !== "text" && key !== "name";  // numbers: the largest first
    this.sort = this.sort.key === key ? { key, down: !this.sort.down } : { key, down: first };
    this.sorted();
    this.window.scrollTop = 0;
    this.active = 0;
    this.build();
    this.head.querySelector(`[data-key="${key}"]`)?.focus();
  }

  build() {
    this.head.replaceChildren(el("tr", {}, ...this.columns.map(([key, label, kind]) => {
      const chosen = this.sort.key === key, arrow = chosen ? (this.sort.down ? " ▼" : " ▲") : "";
      const order = chosen ? (this.sort.down ? "descending" : "ascending") : "none";
      if (kind === "spark") return el("th", { scope: "col", style: "padding: .3rem .7rem" }, label);
      return el("th", { scope: "col", "aria-sort": order, class: kind === "text" ? "text" : null }, el("button", { type: "button", "data-key": key, onclick: () => this.sortBy(key, kind) }, label + arrow));
    })));
    this.first = this.last = -1;
    this.render();
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.render(true); });
  }

  render(moved = false) {
    const height = this.rowHeight, view = this.view;
    const first = Math.max(0, Math.floor(this.top / height) - 6), last = Math.min(this.order.length, first + Math.ceil(view / height) + 12);
    if (moved && first === this.first && last === this.last) return;
    [this.first, this.last] = [first, last];
    $("table").setAttribute("aria-rowcount", this.order.length + 1);
    const focused = this.body.contains(document.activeElement) ? document.activeElement.closest("tr").dataset.index : null;
    const space = count => el("tr", { "aria-hidden": "true", style: `height:${count * height}px` });
    const rows = [];
    for (let at = first; at < last; at++) rows.push(this.row(at));
    if (!this.order.length) rows.push(el("tr", {}, el("td", { colspan: this.columns.length, class: "text muted", style: "padding:.6rem .7rem" }, "No episode meets the filter.")));
    this.body.replaceChildren(...(first ? [space(first)] : []), ...rows, ...(last < this.order.length ? [space(this.order.length - last)] : []));
    if (focused !== null) this.body.querySelector(`tr[data-index="${focused}"] button`)?.focus({ preventScroll: true });
  }

  row(at) {
    const index = this.order[at], row = page.row(index);
    const made = el("tr", { class: "row", "data-at": at, "data-index": index, "aria-rowindex": at + 2 });
    for (const [key, , kind] of this.columns) {
      if (key === "name") made.append(el("th", { scope: "row" }, el("button", { type: "button", tabindex: at === this.active ? 0 : -1, title: titleOf(row), "aria-label": `Open ${titleOf(row)}`, onfocus: () => { this.active = at; } }, row.number != null ? String(row.number) : row.name)));
      else if (key === "spark") made.append(el("td", {}, sparkline(page.spark(row) ?? [])));
      else if (key === "status") made.append(el("td", { class: "text" }, el("span", { class: `chip ${row.status || ""}` }, row.status || "no row")));
      else made.append(el("td", { class: this.tint(key, row[key]) + (kind === "text" ? " text" : ""), title: kind === "text" ? row[key] : null }, text(row[key], kind) + (RATIOS.has(key) && row[key] != null && row.steps < FEW_STEPS ? "*" : "")));
    }
    return made;
  }

  tint(key, value) { return value && ["return", "pnl", "excess"].includes(key) ? (value > 0 ? "gain" : "loss") : ""; }

  key(event) {
    if (!this.body.contains(document.activeElement)) return;
    const screen = Math.floor(this.window.clientHeight / this.rowHeight) - 2;
    const to = { ArrowDown: this.active + 1, ArrowUp: this.active - 1, PageDown: this.active + screen, PageUp: this.active - screen, Home: 0, End: this.order.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.focus(to);
  }

  focus(to) {
    this.active = Math.min(Math.max(to, 0), this.order.length - 1);
    const top = this.active * this.rowHeight, head = this.head.offsetHeight, view = this.window.clientHeight - head;
    if (top < this.window.scrollTop) this.window.scrollTop = top;
    else if (top + this.rowHeight > this.window.scrollTop + view) this.window.scrollTop = top + this.rowHeight - view;
    this.render();
    this.body.querySelector(`tr[data-at="${this.active}"] button`)?.focus({ preventScroll: true });
  }

  open(at) {
    this.active = at;
    openEpisode(this.order[at], this);
  }
}

function sparkline(values) {
  const known = Array.from(values).filter(Number.isFinite);
  if (known.length < 2) return "";
  const low = Math.min(...known), span = Math.max(...known) - low || 1, every = Math.max(1, Math.floor(values.length / 60));
  let path = "", pen = "M";
  for (let at = 0; at < values.length; at += every) {
    if (!Number.isFinite(values[at])) { pen = "M"; continue; }
    path += `${pen}${(1 + 108 * at / (values.length - 1)).toFixed(1)} ${(24 - 22 * (values[at] - low) / span).toFixed(1)}`;
    pen = "L";
  }
  const name = known[known.length - 1] > known[0] ? "gain" : "loss";
  return svg("svg", { class: "spark", viewBox: "0 0 110 26", "aria-hidden": "true", preserveAspectRatio: "none" }, svg("path", { d: path, fill: "none", stroke: `var(--${name})`, "stroke-width": 1.3, "vector-effect": "non-scaling-stroke" }));
}

// The dialog with one episode. Its neighbours are those of the table as it is sorted and filtered.
let opened = null;  // {index, body, group}
async function openEpisode(index, table) {
  const dialog = $("dialog"), row = page.row(index), at = table.order.indexOf(index);
  opened?.group?.destroy();
  const body = el("div", {}), own = (opened = { index, body, group: null });
  const go = to => el("button", { type: "button", disabled: to < 0 || to >= table.order.length, onclick: () => { table.active = to; openEpisode(table.order[to], table); } }, to < at ? "← Previous" : "Next →");
  const close = el("button", { type: "button", onclick: () => dialog.close() }, "Close");
  dialog.replaceChildren(el("div", { class: "bar" }, el("h2", { id: "dialog-title", tabindex: -1 }, titleOf(row)), go(at - 1), go(at + 1), close), body);
  if (!dialog.open) {
    dialog.showModal();
    dialog.addEventListener("close", () => { opened?.group?.destroy(); opened = null; dialog.replaceChildren(); history.replaceState(null, "", location.pathname + location.search); table.focus(table.active); }, { once: true });
  }
  dialog.scrollTop = 0;
  $("dialog-title").focus();
  history.replaceState(null, "", "#" + encodeURIComponent(row.number ?? row.name));
  const one = await page.curve(row);
  if (opened === own) own.group = showEpisode(body, row, one);
}
