"use strict";
const byId = (id) => document.getElementById(id);
const survey = JSON.parse(byId("data").textContent);
const KEEP = `detailscribe.rating.${survey.survey}.`;
const CHECK_ANSWERS = { y: "yes", n: "no", u: "unclear" };

// The browser's storage may be blocked or full; the page then works until it is closed.
const kept = {
  get(name) {
    try {
      return localStorage.getItem(KEEP + name);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(KEEP + name, value);
      return true;
    } catch {
      return false;
    }
  },
};

let rater = "";
let ratings = {};
let place = 0;
let cursor = 0;
let unsaved = false;

const same = (name) => name.trim().replace(/\s+/g, " ");
const ratingsOf = (name) => {
  try {
    return JSON.parse(kept.get(`rater.${name.toLowerCase()}`)) || {};
  } catch {
    return {};
  }
};
const questionsOf = (item) => [
  ...survey.criteria.map((criterion) => ({ part: "scores", id: criterion.id, criterion })),
  ...item.checks.map((words, number) => ({ part: "checks", id: String(number), words })),
];
const answerOf = (item, question) => ratings[item.id]?.[question.part]?.[question.id];
const isOpen = (item) => questionsOf(item).some((question) => answerOf(item, question) === undefined);

function make(tag, attributes, ...children) {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
}

function answer(value) {
  const item = survey.items[place];
  const question = questionsOf(item)[cursor];
  const wasOpen = isOpen(item);
  const rating = (ratings[item.id] ??= { scores: {}, checks: {} });
  if (value === undefined) delete rating[question.part][question.id];
  else rating[question.part][question.id] = value;
  save();
  if (value === undefined) return show(place, cursor);
  if (wasOpen && !isOpen(item) && place + 1 < survey.items.length) return show(place + 1);
  show(place, Math.min(cursor + 1, questionsOf(item).length - 1));
  // After the last answer, scroll up to the line that says what to do next.
  if (wasOpen && !byId("done").hidden) window.scrollTo({ top: 0 });
}

function save() {
  unsaved = !kept.set(`rater.${rater.toLowerCase()}`, JSON.stringify(ratings));
  kept.set("last", rater);
  byId("unkept").hidden = !unsaved;
}

function show(to, at) {
  place = Math.max(0, Math.min(to, survey.items.length - 1));
  const item = survey.items[place];
  const questions = questionsOf(item);
  const firstOpen = questions.findIndex((question) => answerOf(item, question) === undefined);
  cursor = at ?? Math.max(firstOpen, 0);
  kept.set(`place.${rater.toLowerCase()}`, String(place));
  byId("prompt").textContent = item.prompt;
  if (byId("picture").src !== new URL(item.picture, document.baseURI).href) byId("picture").src = item.picture;
  const hadFocus = byId("questions").contains(document.activeElement);
  byId("questions").replaceChildren(...questions.map((question, number) => field(item, question, number)));
  const here = byId("questions").children[cursor];
  here?.scrollIntoView({ block: "nearest" });
  if (hadFocus) here?.querySelector("[aria-pressed=true], button")?.focus({ preventScroll: true });
  progress();
}

function field(item, question, number) {
  const value = answerOf(item, question);
  const choose = (given) => () => {
    cursor = number;
    answer(given);
  };
  const button = (given, words, title) =>
    make("button", { type: "button", textContent: words, title, ariaPressed: String(value === given), onclick: choose(given) });
  const box = make("fieldset", { className: number === cursor ? "here" : "" });
  if (question.part === "checks") {
    const buttons = Object.values(CHECK_ANSWERS).map((word) => button(word, word, ""));
    box.append(make("legend", { textContent: question.words }), make("div", { className: "answers" }, ...buttons));
    return box;
  }
  const { title, question: words, scale } = question.criterion;
  const means = make("p", { className: "means" });
  const tell = (given) => (means.textContent = given ? `${given}: ${scale[given - 1]}` : "");
  const buttons = scale.map((meaning, index) => {
    const made = button(index + 1, String(index + 1), meaning);
    made.onmouseenter = () => tell(index + 1);
    made.onmouseleave = () => tell(value);
    made.onfocus = () => made.matches(":focus-visible") && tell(index + 1);
    return made;
  });
  tell(value);
  box.append(
    make("legend", { textContent: title }),
    make("p", { textContent: words }),
    make("div", { className: "answers" }, ...buttons),
    means,
  );
  return box;
}

function progress() {
  const total = survey.items.length;
  const rated = survey.items.filter((item) => !isOpen(item)).length;
  byId("place").value = `${place + 1} of ${total}`;
  byId("rated").value = `${rated} rated`;
  byId("progress").value = rated;
  byId("back").disabled = place === 0;
  byId("on").disabled = place + 1 === total;
  byId("open").disabled = rated === total;
  byId("done").hidden = rated < total;
}

function exported() {
  const known = new Map(survey.items.map((item) => [item.id, item]));
  const given = Object.entries(ratings).filter(
    ([id, one]) => known.has(id) && Object.keys(one.scores).length + Object.keys(one.checks).length > 0,
  );
  return {
    kind: "detailscribe-ratings",
    version: 1,
    survey: survey.survey,
    seed: survey.seed,
    rater,
    time: new Date().toISOString(),
    ratings: Object.fromEntries(given),
  };
}

function download() {
  const file = new Blob([JSON.stringify(exported(), null, 1)], { type: "application/json" });
  const name = rater.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "rater";
  const link = make("a", { href: URL.createObjectURL(file), download: `ratings-${survey.survey}-${name}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  unsaved = false;
}

function greet() {
  byId("work").hidden = true;
  byId("welcome").hidden = false;
  byId("rater").value = kept.get("last") ?? "";
  recognize();
  byId("rater").focus();
}

function recognize() {
  const name = same(byId("rater").value);
  const count = name ? Object.keys(ratingsOf(name)).length : 0;
  byId("begin").textContent = count ? "Continue" : "Begin";
  byId("found").textContent = count ? `You have answered questions about ${count} of ${survey.items.length} pictures in this browser.` : "";
}

function begin(event) {
  event.preventDefault();
  const name = same(byId("rater").value);
  if (!name) return;
  rater = name;
  ratings = ratingsOf(name);
  byId("welcome").hidden = true;
  byId("work").hidden = false;
  document.activeElement?.blur();
  save();
  show(Number(kept.get(`place.${rater.toLowerCase()}`)) || 0);
}

const keys = {
  ArrowLeft: () => show(place - 1),
  ArrowRight: () => show(place + 1),
  ArrowUp: () => show(place, Math.max(cursor - 1, 0)),
  ArrowDown: () => show(place, Math.min(cursor + 1, questionsOf(survey.items[place]).length - 1)),
  Backspace: () => answer(undefined),
  Delete: () => answer(undefined),
};

function pressed(event) {
  if (byId("work").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  const { part } = questionsOf(survey.items[place])[cursor];
  const key = event.key.toLowerCase();
  if (keys[event.key]) keys[event.key]();
  else if (part === "scores" && /^[1-5]$/.test(key)) answer(Number(key));
  else if (part === "checks" && CHECK_ANSWERS[key]) answer(CHECK_ANSWERS[key]);
  else return;
  event.preventDefault();
}

byId("who").addEventListener("submit", begin);
byId("rater").addEventListener("input", recognize);
byId("back").addEventListener("click", keys.ArrowLeft);
byId("on").addEventListener("click", keys.ArrowRight);
byId("open").addEventListener("click", () => show(survey.items.findIndex(isOpen)));
byId("export").addEventListener("click", download);
byId("other").addEventListener("click", greet);
document.addEventListener("keydown", pressed);
addEventListener("beforeunload", (event) => unsaved && event.preventDefault());
greet();
