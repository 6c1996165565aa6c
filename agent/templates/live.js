// What `detailscribe view` adds: updates the page during the run, and sends button presses to the server.
const { events, token, place, up = "" } = document.body.dataset;
let waiting = false;
let took = 0;

async function refresh() {
  waiting = false;
  const began = performance.now();
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const typing = document.activeElement?.matches("textarea, select, input:not([type=search]):not([type=checkbox])");
  if (typing) return later();
  const list = document.querySelector("table#runs > tbody");
  if (list) {
    const picked = new Set(picks());
    const bodyOf = fresh.querySelector("table#runs > tbody");
    for (const box of bodyOf.querySelectorAll(".pick input")) box.checked = picked.has(box.value);
    list.replaceChildren(...bodyOf.rows);
    document.querySelector("header.page").replaceWith(document.importNode(fresh.querySelector("header.page"), true));
  } else {
    if (!document.querySelector("#rounds") && fresh.querySelector("#rounds")) return location.reload();
    const open = new Set([...document.querySelectorAll("article details[open]")].map(pathOf));
    for (const one of fresh.querySelectorAll("article details")) one.open = one.open || open.has(pathOf(one));
    for (const name of ["main", "header.page"]) {
      const old = document.querySelector(name);
      if (old && !old.querySelector("details.budget[open]")) old.replaceWith(document.importNode(fresh.querySelector(name), true));
    }
  }
  const foot = fresh.querySelector("footer");
  if (foot) document.querySelector("footer").replaceWith(document.importNode(foot, true));
  if (typeof enhance === "function") enhance();
  took = performance.now() - began;
}

function pathOf(details) {
  const card = details.closest("article");
  return `${card.id} ${[...card.querySelectorAll("details")].indexOf(details)}`;
}

function later() {
  if (waiting) return;
  waiting = true;
  setTimeout(refresh, Math.max(700, 4 * took));
}

const source = new EventSource(events);
source.onmessage = later;

async function send(kind, data) {
  const answer = await fetch(`${up}${kind}/${place}`, {
    method: "POST",
    headers: { "X-Token": token, "Content-Type": "application/json" },
    body: JSON.stringify(data),
  });
  const problem = answer.ok ? "" : (await answer.json().catch(() => ({ error: "the server refused it" }))).error;
  const said = document.getElementById("said");
  if (said) said.textContent = problem || (kind === "steer" ? "Will be done after the current step." : "Saved.");
  if (answer.ok) later();
}

const picks = () => [...document.querySelectorAll(".pick input:checked")].map((box) => box.value);

document.addEventListener("change", (event) => {
  const { target } = event;
  if (target.closest(".pick")) {
    const [a, b, more] = picks();
    const link = document.getElementById("compare");
    link.hidden = !b || more !== undefined;
    if (b) link.href = `compare?a=${encodeURIComponent(a)}&b=${encodeURIComponent(b)}`;
  } else if (target.dataset.verdict && target.value) {
    send("note", { image: target.dataset.image, verdicts: { [target.dataset.verdict]: target.value } });
    target.blur();
  } else if (target.dataset.text !== undefined) {
    send("note", { image: target.dataset.text, text: target.value });
  }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-steer], [data-mark]");
  if (!button) return;
  const { steer, image, mark, action } = button.dataset;
  if (mark) return send("note", { image, mark: button.getAttribute("aria-pressed") === "true" ? "none" : mark });
  const data = { action: steer };
  if (steer === "accept") data.image = image;
  if (steer === "decide") data.decisions = { [image]: action };
  if (steer === "cancel" && !confirm("End the run without a result? It can be resumed.")) return;
  send("steer", data);
});

document.addEventListener("submit", (event) => {
  event.preventDefault();
  const inputs = [...event.target.querySelectorAll("input")].filter((one) => one.value && one.value !== one.defaultValue);
  event.target.closest("details").open = false;
  if (!inputs.length) return;
  send("steer", { action: "budget", budget: Object.fromEntries(inputs.map((one) => [one.name, Number(one.value)])) });
});
