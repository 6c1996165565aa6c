"use strict";
const byId = (id) => document.getElementById(id);
const cards = () => [...document.querySelectorAll("article.card")];
let current = -1;

// A link to a folded card opens it, as does one to a decision in it.
function unfold() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  const fold = target && target.closest("article")?.querySelector(":scope > details");
  if (!fold) return;
  fold.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", unfold);
// Nothing can be unfolded on paper.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});

function filter() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [failed, rule, state] = ["failed", "rule", "state"].map((id) => byId(id).value);
  const all = cards();
  let shown = 0;
  for (const card of all) {
    const text = words.length ? card.textContent.toLowerCase() : "";
    const { fails, rule: own, state: stands } = card.dataset;
    const fits =
      words.every((word) => text.includes(word)) &&
      (!failed || fails.includes(` ${failed} `)) &&
      (!rule || own === rule) &&
      (!state || stands === state || (state === "no decision" && !own));
    card.hidden = !fits;
    shown += fits;
    if (fits && words.length) {
      for (const fold of card.querySelectorAll("details")) {
        if (words.some((word) => fold.textContent.toLowerCase().includes(word))) fold.open = true;
      }
    }
  }
  byId("found").textContent = shown === all.length ? "" : `${shown} of ${all.length} images`;
}

function go(to) {
  const shown = cards().filter((card) => !card.hidden);
  if (!shown.length) return;
  const at = shown.findIndex((card) => `#${card.id}` === location.hash);
  location.hash = shown[Math.max(0, Math.min((at < 0 && to > 0 ? -1 : at) + to, shown.length - 1))].id;
}

// The picture alone: zoom with the wheel or + and -, pan by dragging, left and right for images, up and down for rounds.
const box = document.createElement("dialog");
box.className = "lightbox";
box.innerHTML = '<p><b></b> <span></span><button type="button" aria-label="Close">✕</button></p>';
document.body.append(box);
const sheet = document.createElement("div");
sheet.className = "sheet boxed";
const big = document.createElement("img");
let view = { x: 0, y: 0, zoom: 1 };
function place_() {
  sheet.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
  sheet.style.setProperty("--zoom", view.zoom);
}

function enlarge(at) {
  const shown = cards().filter((card) => !card.hidden);
  if (!shown.length) return;
  current = Math.max(0, Math.min(at, shown.length - 1));
  const card = shown[current];
  big.src = card.dataset.full;
  big.alt = "";
  const picture = card.querySelector(".left .after img, .left .boxed img");
  sheet.replaceChildren(big, ...[...card.querySelectorAll(".boxed .box")].map((one) => one.cloneNode(true)));
  sheet.style.setProperty("--ratio", picture.getAttribute("width") / picture.getAttribute("height"));
  box.append(sheet);
  big.classList.toggle("crisp", picture.classList.contains("crisp"));
  box.querySelector("b").textContent = card.querySelector("h3 .id").textContent;
  box.querySelector("span").textContent = card.querySelector("h3 .tally").textContent;
  view = { x: 0, y: 0, zoom: 1 };
  place_();
  if (!box.open) box.showModal();
}

function round(step) {
  const shown = cards().filter((card) => !card.hidden);
  const rounds = [...new Set(shown.map((card) => card.parentElement))];
  const next = rounds[rounds.indexOf(shown[current].parentElement) + step];
  if (next) enlarge(shown.findIndex((card) => card.parentElement === next));
}

function zoom(by) {
  view.zoom = Math.max(1, Math.min(16, view.zoom * by));
  if (view.zoom === 1) view.x = view.y = 0;
  place_();
}
box.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2);
});
sheet.addEventListener("pointerdown", (event) => {
  event.preventDefault();
  sheet.setPointerCapture(event.pointerId);
});
sheet.addEventListener("pointermove", (event) => {
  if (!sheet.hasPointerCapture(event.pointerId)) return;
  view.x += event.movementX;
  view.y += event.movementY;
  place_();
});
box.querySelector("button").addEventListener("click", () => box.close());
document.addEventListener("click", (event) => {
  const button = event.target.closest(".enlarge");
  if (button) enlarge(cards().filter((card) => !card.hidden).indexOf(button.closest("article")));
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, textarea, select");
  const inBox = {
    ArrowLeft: () => enlarge(current - 1),
    ArrowRight: () => enlarge(current + 1),
    ArrowUp: () => round(-1),
    ArrowDown: () => round(1),
    "+": () => zoom(1.5),
    "-": () => zoom(1 / 1.5),
    0: () => zoom(0),
  };
  const outside = {
    n: () => go(1),
    p: () => go(-1),
    z: () => enlarge(Math.max(0, cards().filter((card) => !card.hidden).findIndex((card) => `#${card.id}` === location.hash))),
    "/": () => byId("find").focus(),
  };
  const work = box.open ? inBox[event.key] : typing ? null : outside[event.key];
  if (!work) return;
  event.preventDefault();
  work();
});

// What the script adds to the page, at first and after every update of a live page.
function enhance() {
  for (const figure of document.querySelectorAll(".compare")) {
    const pair = figure.querySelector(".pair");
    const slider = figure.querySelector("input");
    const show = () => pair.style.setProperty("--at", slider.value + "%");
    slider.addEventListener("input", show);
    slider.hidden = false;
    figure.classList.add("live");
    show();
  }
  for (const heading of document.querySelectorAll("article h3")) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "enlarge", textContent: "Enlarge" });
    heading.append(button);
  }
  const rules = [...new Set(cards().map((card) => card.dataset.rule).filter(Boolean))].sort();
  byId("rule").append(...rules.map((rule) => new Option(rule, rule)));
  for (const id of ["find", "failed", "rule", "state"]) byId(id).addEventListener("input", filter);
  document.querySelector(".tools").hidden = false;
  unfold();
}
enhance();
