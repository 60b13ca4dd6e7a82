// Elements, numbers as text, colours, theme.
const $ = id => document.getElementById(id);
const EMPTY = "–";
const FEW_STEPS = 20;
const redraws = new Set();  // called when the theme changes

function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter(child => child != null));
  return made;
}

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const css = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
const isKnown = value => value != null && Number.isFinite(value);

// Without Intl, whose first use in a browser's process takes 40 ms.
function grouped(value, digits) {
  const [whole, fraction] = Math.abs(value).toFixed(digits).split(".");
  return (value < 0 ? "-" : "") + whole.replace(/\B(?=(\d{3})+$)/g, ",") + (fraction ? "." + fraction : "");
}
function number(value, digits = 4) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e9 || size < 1e-4) return value.toExponential(Math.max(digits - 2, 0));
  return grouped(value, 0 <= size && size >= 1 ? Math.max(0, digits - Math.floor(Math.log10(size)) - 1) : digits);
}
const day = seconds => new Date(seconds * 1000).toISOString().slice(0, 10);
function moment(seconds) {
  const text = new Date(seconds * 1000).toISOString();
  return text.slice(11, 19) === "00:00:00" ? text.slice(0, 10) : text.slice(0, 10) + " " + text.slice(11, 19);
}

const FORMS = {
  percent: value => grouped(value * 100, Math.abs(value) >= 10 ? 0 : 2) + "%",
  ratio: value => number(value, 3),
  number: value => number(value),
  money: value => grouped(value, Math.abs(value) >= 1e6 ? 0 : 2),
  count: value => grouped(value, 0),
  day,
  time: moment,
  text: value => String(value),
  flag: value => (value ? "yes" : "no"),
};

function text(value, kind) {
  if (value == null || (typeof value === "number" && !Number.isFinite(value))) return EMPTY;
  return FORMS[kind](value);
}

function quantile(sorted, part) {
  if (!sorted.length) return NaN;
  const at = (sorted.length - 1) * part, low = Math.floor(at);
  return sorted[low] + (sorted[Math.min(low + 1, sorted.length - 1)] - sorted[low]) * (at - low);
}
const ascending = values => Float64Array.from(values.filter(isKnown)).sort();  // four times as fast as with a comparison

function setUpTheme() {
  const choice = $("theme"), root = document.documentElement;
  const apply = () => {
    if (choice.value) root.dataset.theme = choice.value; else delete root.dataset.theme;
    for (const redraw of redraws) redraw();
  };
  try { choice.value = localStorage.getItem("rsc-theme") || ""; } catch { /* a page from file:// may have no storage */ }
  choice.addEventListener("change", () => {
    try { localStorage.setItem("rsc-theme", choice.value); } catch { /* the same */ }
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  apply();
}

function dataTable(headings, rows, caption) {
  const head = el("thead", {}, el("tr", {}, ...headings.map(name => el("th", { scope: "col" }, name))));
  const body = el("tbody", {}, ...rows.map(row => el("tr", {}, ...row.map(cell => el("td", {}, cell)))));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, el("table", {}, head, body));
}

// Fill a select with [value, words], and keep what is chosen.
function choices(select, offered) {
  if (offered.map(([value]) => value).join("\n") === [...select.options].map(one => one.value).join("\n")) return;
  const chosen = select.value;
  select.replaceChildren(...offered.map(([value, words]) => el("option", { value }, words)));
  if (offered.some(([value]) => value === chosen)) select.value = chosen;
}

// A chart's figures as a table, made when it is opened.
function asTable(caption, headings, rows, most = 500) {
  const made = el("details", {}, el("summary", {}, "Table"));
  made.addEventListener("toggle", () => {
    if (!made.open || made.childElementCount > 1) return;
    const all = rows(), step = Math.max(1, Math.ceil(all.length / most));
    const shown = all.filter((_, index) => index % step === 0 || index === all.length - 1);
    if (shown.length < all.length) made.append(el("p", { class: "muted" }, `Every ${step}th of ${grouped(all.length, 0)} points.`));
    made.append(dataTable(headings, shown, caption));
  });
  return made;
}
