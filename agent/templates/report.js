"use strict";
for (const figure of document.querySelectorAll(".compare")) {
  const pair = figure.querySelector(".pair");
  const slider = figure.querySelector("input");
  const show = () => pair.style.setProperty("--at", slider.value + "%");
  slider.addEventListener("input", show);
  slider.hidden = false;
  figure.classList.add("live");
  show();
}
// A link to a folded card opens it.
const unfold = () => {
  const fold = document.querySelector(":target > details");
  if (fold) fold.open = true;
};
addEventListener("hashchange", unfold);
unfold();
// On paper nothing can be unfolded.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});
