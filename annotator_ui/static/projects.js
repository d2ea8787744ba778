// The projects page: one card per project, refreshed while it is looked at.

import { ApiError, createApi, goToSignIn, projectPath } from "./api.js";
import { byId, count, el, percent, setText } from "./dom.js";
import { wireMenus } from "./menus.js";
import { roundWords } from "./round_words.js";

const EVERY_MS = 5000;
const CLASSES_SHOWN = 6;

const api = createApi();
const list = byId("projects");
const mayLabel = document.body.dataset.role !== "viewer";
const mayEngineer = ["admin", "engineer"].includes(document.body.dataset.role ?? "");
let shown = "";

async function refresh() {
  try {
    const { projects } = await api.call("GET", "/projects");
    byId("notice").hidden = true;
    draw(projects);
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return goToSignIn();
    byId("notice").hidden = false;
    setText(byId("notice"), "The server does not answer. What you see may be old; this page tries again by itself.");
  }
  return undefined;
}

function draw(projects) {
  const fresh = JSON.stringify(projects);
  if (fresh === shown) return;
  shown = fresh;
  const focused = document.activeElement?.getAttribute("href");
  list.setAttribute("aria-busy", "false");
  list.replaceChildren(...projects.map(card));
  byId("empty").hidden = projects.length > 0;
  if (focused) list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

function card(project) {
  const path = projectPath(project.name);
  const { counts } = project;
  const part = counts.total ? counts.labelled / counts.total : 0;
  const names = project.classes.slice(0, CLASSES_SHOWN).join(", ") + (project.classes.length > CLASSES_SHOWN ? ` and ${project.classes.length - CLASSES_SHOWN} more` : "");
  const meter = el("span", { class: "meter", role: "progressbar", "aria-label": "Labelled", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(part * 100) }, el("i"));
  meter.style.setProperty("--part", String(part));
  return el("li", { class: "card project" },
    el("div", {}, el("h2", {}, el("a", { href: `${path}/board`, text: project.name })), el("p", { class: "class-names", title: project.classes.join(", "), text: names || "no classes yet" })),
    el("p", { class: "state", dataset: { state: project.round?.state ?? "" }, text: roundWords(project.round) }),
    el("div", {},
      el("p", { class: "numbers" }, counts.total ? el("span", {}, el("b", { text: count(counts.labelled) }), ` of ${count(counts.total)} labelled`) : "No images yet", counts.total ? el("span", { class: "quiet", text: percent(part, part > 0 && part < 0.1 ? 1 : 0) }) : null),
      meter),
    el("p", { class: "row" },
      mayLabel ? el("a", { class: "button primary", href: `${path}/label`, "aria-label": `Label ${project.name}`, text: "Label" }) : null,
      mayEngineer && !counts.total ? el("a", { class: "button", href: `${path}/images`, "aria-label": `Add images to ${project.name}`, text: "Add images" }) : null,
      el("a", { class: "button", href: `${path}/board`, "aria-label": `Board of ${project.name}`, text: "Board" })),
  );
}

wireMenus(api, { page: "projects" });
refresh();
setInterval(() => !document.hidden && refresh(), EVERY_MS);
document.addEventListener("visibilitychange", () => !document.hidden && refresh());
