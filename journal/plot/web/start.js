// Read the data and draw the page.
const page = {
  async load() {
    const table = await unpack("table");
    this.columns = table.columns;
    this.facts = table;
    this.runs = table.runs || [];
    this.count = (table.columns.name || []).length;
  },
  has(key) { return key in this.columns; },
  value(key, index) { const column = this.columns[key]; return column ? column[index] : null; },
  row(index) {
    const row = { at: index };
    for (const key in this.columns) row[key] = this.columns[key][index];
    return row;
  },
  spark(row) { return this.curves && row.curve != null ? this.curves.values(row.curve) : null; },
  async curve(row) { return row.curve != null ? this.curves.episode(row.curve) : null; },
  words(index) {
    this.searched ??= [];
    return (this.searched[index] ??= SEARCHED.map(key => this.value(key, index)).filter(value => value != null).join(" ").toLowerCase());
  },
};

function showLimits() {
  $("limits").replaceChildren(...page.facts.limits.map(words => el("p", {}, words)));
}

function openNamed(table) {
  const name = decodeURIComponent(location.hash.slice(1));
  if (!name) return;
  for (let index = 0; index < page.count; index++)
    if (String(page.value("number", index) ?? page.value("name", index)) === name) { openEpisode(index, table); return; }
}

async function start() {
  setUpTheme();
  const begun = performance.now();
  await page.load();
  showLimits();
  const single = page.count === 1 && !page.facts.runs;
  let table = null;
  if (!page.facts.live) page.curves = new Curves(await unpack("curves"));
  if (!single) {
    if (typeof showSections === "function") showSections();
    if (page.count) table = new EpisodeTable();  // after the curves, so that each row is built once
  }
  if (page.facts.live) goLive(table);
  if (single) {
    $("single").hidden = false;
    showEpisode($("single"), page.row(0), await page.curve(page.row(0)));
  } else if (table) openNamed(table);
  document.documentElement.dataset.ready = Math.round(performance.now());
  document.documentElement.dataset.own = Math.round(performance.now() - begun);
}

start().catch(error => {
  const failure = $("failure");
  failure.hidden = false;
  failure.textContent = `This page cannot show its data (${error.message}). It needs a browser of 2023 or later.`;
  throw error;
});
