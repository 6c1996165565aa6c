"use strict";
const byId = (id) => document.getElementById(id);
const table = byId("runs");
const body = table.tBodies[0];
let rows = [];

const CHOICES = ["state", "policy", "fails", "rules"];

// Whether a row contains a word, or satisfies a comparison such as seed>3 or images<=2 of a tag or a column.
function has({ row, text }, word) {
  const [, name, sign, bound] = word.match(/^([^<>=]+)(<=|>=|<|>)(-?[\d.]+)$/) ?? [];
  if (!name) return text.includes(word);
  const column = [...table.tHead.rows[0].cells].find((cell) => cell.dataset.key === name)?.cellIndex;
  const tag = text.split(/\s+/).find((one) => one.startsWith(`${name}=`));
  const value = tag ? Number(tag.slice(name.length + 1)) : column === undefined ? NaN : Number(row.cells[column].dataset.v);
  if (value === Number(bound)) return sign.length === 2;
  return sign[0] === "<" ? value < bound : value > bound;
}

function filter() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = CHOICES.map((id) => [id, byId(id).value]).filter(([, value]) => value);
  let shown = 0;
  for (const one of rows) {
    const { row } = one;
    const fits =
      words.every((word) =>
        word.startsWith("-") && word.length > 1 ? !has(one, word.slice(1)) : word.split("|").some((part) => has(one, part)),
      ) && wanted.every(([id, value]) => one[id].includes(value));
    row.hidden = !fits;
    shown += fits;
  }
  const runs = rows.length === 1 ? "run" : "runs";
  byId("count").textContent = shown === rows.length ? `${shown} ${runs}` : `${shown} of ${rows.length} ${runs}`;
  byId("none").hidden = shown > 0 || !rows.length;
}

const numbers = new Set(["share", "images", "rounds", "evaluations", "seconds", "money"]);
const words = new Intl.Collator(undefined, { numeric: true });

function sort(heading, given) {
  const column = heading.cellIndex;
  const numeric = numbers.has(heading.dataset.key);
  // The first click puts the largest number, or the first letter, on top.
  const first = numeric ? "descending" : "ascending";
  const other = numeric ? "ascending" : "descending";
  const direction = given ?? (heading.getAttribute("aria-sort") === first ? other : first);
  for (const one of heading.parentNode.cells) one.setAttribute("aria-sort", one === heading ? direction : "none");
  const sign = direction === "ascending" ? 1 : -1;
  const compare = numeric ? (a, b) => a - b : words.compare;
  rows.sort((a, b) => sign * compare(a.values[column], b.values[column]));
  body.append(...rows.map(({ row }) => row));
}

for (const heading of table.tHead.rows[0].cells) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...heading.childNodes);
  button.addEventListener("click", () => sort(heading));
  heading.append(button);
}

function view(name) {
  table.classList.toggle("gallery", name === "gallery");
  for (const id of ["table", "gallery"]) byId(id).setAttribute("aria-pressed", id === name);
}

for (const id of ["table", "gallery"]) byId(id).addEventListener("click", () => view(id));
for (const id of ["find", ...CHOICES]) byId(id).addEventListener("input", filter);
document.querySelector(".controls").hidden = false;

// Reads the rows; called at first and after every update of a live page.
function enhance() {
  rows = [...body.rows].map((row) => ({
    row,
    text: row.textContent.toLowerCase(),
    values: [...row.cells].map((cell) => cell.dataset.v),
    state: [row.dataset.state],
    policy: [row.dataset.policy],
    fails: JSON.parse(row.dataset.fails),
    rules: JSON.parse(row.dataset.rules),
  }));
  for (const id of CHOICES) {
    const known = new Set([...byId(id).options].map((option) => option.value));
    const fresh = [...new Set(rows.flatMap((row) => row[id]))].filter((value) => value && !known.has(value));
    byId(id).append(...fresh.sort(words.compare).map((value) => new Option(value, value)));
  }
  const sorted = table.tHead.querySelector("[aria-sort=ascending], [aria-sort=descending]");
  if (sorted) sort(sorted, sorted.getAttribute("aria-sort"));
  filter();
}
enhance();
