// Follow the server: it sends what has changed, and the page draws it anew.
const RETRY_MS = 2000, MOST_SPARKS = 100;

function goLive(table) {
  new Live(table).connect();
  const compare = $("compare"), chosen = () => [...document.querySelectorAll("#overview input:checked")].map(one => encodeURIComponent(one.value));
  $("overview")?.addEventListener("change", () => { compare.disabled = chosen().length < 2; });
  compare?.addEventListener("click", () => { location.href = "/runs/" + chosen().join(","); });
}

// Draw an element's content anew, and keep what the user did there: what is open, chosen and focused, and the height.
function keeping(host, draw) {
  const parts = () => [...host.querySelectorAll("a, button, input, select, summary, [tabindex]")];
  const opened = [...host.querySelectorAll("details")].map(one => one.open);
  const chosen = new Set([...host.querySelectorAll("input:checked")].map(one => one.value));
  const focused = parts().indexOf(document.activeElement);
  host.style.minHeight = `${host.offsetHeight}px`;  // tables that were open are filled a moment later
  draw();
  host.querySelectorAll("details").forEach((one, at) => { one.open = Boolean(opened[at]); });
  host.querySelectorAll("input[type=checkbox]").forEach(one => { one.checked = chosen.has(one.value); });
  if (focused >= 0) parts()[focused]?.focus({ preventScroll: true });
  setTimeout(() => { host.style.minHeight = ""; }, 200);
}

// Draw charts anew with the same zoom and cursor. `draw` returns their group.
function keepingView(host, group, draw) {
  const view = group?.view, at = group?.at;
  let drawn = null;
  keeping(host, () => { drawn = draw(); });
  if (view) drawn?.zoom(view.min, view.max);
  if (at != null && drawn?.charts.length) drawn.point(at);
}

class Live {
  constructor(table) {
    this.table = table;
    this.version = page.facts.live.version;
    this.waiting = [];
    this.places = new Map();
    for (let index = 0; index < page.count; index++) this.places.set(this.key(page.row(index)), index);
    this.values = new Map();  // of small curves, by journal
    this.stale = new Set();
    this.wanted = new Map();
    page.spark = row => this.spark(row);
    page.curve = row => this.curve(row);
    if (table) table.sort = { key: "name", down: true };  // the newest first
    table?.apply();
    // What is drawn anew between the press and the release of a button would lose the click.
    addEventListener("pointerdown", () => { this.held = true; }, true);
    for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => setTimeout(() => { this.held = false; this.take(); }), true);
    // A browser opens six connections to a server at most, and pages in the background would use them up.
    document.addEventListener("visibilitychange", () => this.connect());
  }

  key(row) { return row.journal ?? `#${row.number}`; }

  say(words) { if ($("live").textContent !== words) $("live").textContent = words; }

  connect() {
    this.source?.close();
    clearTimeout(this.retry);
    if (document.hidden) return;
    const source = (this.source = new EventSource(`${page.facts.live.stream}?since=${this.version}`));
    source.onopen = () => this.say("live");
    source.onerror = () => {
      this.say("not live: the server does not answer; trying again");
      if (source.readyState === EventSource.CLOSED) this.retry = setTimeout(() => this.connect(), RETRY_MS);
    };
    source.onmessage = event => { this.waiting.push(JSON.parse(event.data)); this.take(); };
  }

  take() {
    if (this.held) return;
    const events = this.waiting.splice(0), html = {};
    const changed = new Set();
    for (const event of events) {
      this.version = event.version ?? this.version;
      Object.assign(html, event.html);
      $("problem").hidden = !event.problem;
      $("problem").textContent = event.problem ? `The database cannot be read: ${event.problem}. This page tries again.` : "";
      if (event.columns) this.merge(event.columns, changed);
    }
    for (const [id, words] of Object.entries(html)) if (this.drawn?.[id] !== words) keeping($(id), () => { $(id).innerHTML = words; });  // the server escapes it
    this.drawn = { ...this.drawn, ...html };
    if (changed.size) this.draw(changed);
  }

  merge(columns, changed) {
    for (const key in columns) page.columns[key] ??= new Array(page.count).fill(null);
    for (let at = 0; at < (columns.name || []).length; at++) {
      const row = {};
      for (const key in page.columns) row[key] = columns[key]?.[at] ?? null;
      const key = this.key(row), index = this.places.get(key) ?? page.count++;
      this.places.set(key, index);
      for (const name in page.columns) page.columns[name][index] = row[name];
      if (page.searched) delete page.searched[index];
      this.stale.add(row.journal);
      changed.add(index);
    }
  }

  draw(changed) {
    keepingView($("learning-chart"), learning?.group, () => { keeping($("spread-charts"), showSections); return learning?.group; });
    if (this.table) this.drawTable();
    else {
      this.table = new EpisodeTable();
      this.table.sort = { key: "name", down: true };
      this.table.apply();
    }
    if (opened && changed.has(opened.index)) this.drawEpisode(opened);
  }

  // The row at the top of the window and the one with the cursor stay where they are.
  drawTable() {
    const { table } = this, height = table.rowHeight, top = Math.floor(table.window.scrollTop / height);
    const first = table.order[top], cursor = table.order[table.active], offered = table.offered.size;
    for (const [key, , , rank] of COLUMNS) if (!table.offered.has(key) && table.exists(key)) {
      table.offered.add(key);
      if (table.fits(rank)) table.shown.add(key);
    }
    table.fillStatuses();
    table.apply(true);
    table.active = Math.max(table.order.indexOf(cursor), 0);
    if (top > 0 && table.order.includes(first)) table.window.scrollTop += (table.order.indexOf(first) - top) * height;
    if (table.offered.size === offered) { table.render(); return; }
    table.fillColumns();
    table.build();
  }

  async drawEpisode(own) {
    const row = page.row(own.index), one = await page.curve(row);
    if (opened !== own) return;
    $("dialog-title").textContent = titleOf(row);
    const top = $("dialog").scrollTop;
    keepingView(own.body, own.group, () => {
      own.group?.destroy();
      own.body.replaceChildren();
      return (own.group = showEpisode(own.body, row, one));
    });
    $("dialog").scrollTop = top;
  }

  async curve(row) {
    if (row.curve == null) return null;
    const response = await fetch(`/runs/${encodeURIComponent(row.run)}/episodes/${encodeURIComponent(row.journal)}`);
    if (!response.ok) return null;
    return new Curves(decoded(await inflate(new Uint8Array(await response.arrayBuffer())))).episode(0);
  }

  spark(row) {
    if (row.curve == null) return null;
    if (!this.values.has(row.journal) || this.stale.has(row.journal)) {
      this.wanted.set(row.journal, row.run);
      this.asking ??= setTimeout(() => this.ask(), 20);
    }
    return this.values.get(row.journal) ?? null;
  }

  async ask() {
    const wanted = [...this.wanted].slice(-MOST_SPARKS), byRun = new Map();
    this.wanted.clear();
    for (const [journal, run] of wanted) {
      this.stale.delete(journal);
      if (!this.values.has(journal)) this.values.set(journal, []);
      byRun.set(run, [...(byRun.get(run) ?? []), journal]);
    }
    try {
      for (const [run, journals] of byRun) {
        const response = await fetch(`/runs/${encodeURIComponent(run)}/sparks?journals=${journals.map(encodeURIComponent).join(",")}`);
        if (response.ok) for (const [journal, values] of Object.entries(await response.json())) this.values.set(journal, values);
      }
    } catch { /* the server has gone; the stream says so */ }
    this.asking = null;
    this.table?.render();
  }
}
