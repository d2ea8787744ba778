// Which list is shown: in the address, so that it can be sent to a colleague, and in the bar above the images.

import { byId, el } from "./dom.js";
import { KINDS, countWords } from "./review_words.js";

/** @typedef {import("./review_rows.js").Filter & {view: "grid"|"one"}} Place */

const NAMES = ["class_name", "annotator", "round"];

/** @returns {Place} */
function placeOf(search) {
  const given = new URLSearchParams(search);
  const kind = KINDS.some((item) => item.kind === given.get("kind")) ? given.get("kind") : "disputed";
  const round = given.get("round") ?? "";
  return { kind: /** @type {string} */ (kind), class_name: given.get("class_name") ?? "", annotator: given.get("annotator") ?? "", round: /^\d{1,9}$/.test(round) ? round : "", view: given.get("view") === "one" ? "one" : "grid" };
}

/** @param {Place} place */
function searchOf(place) {
  const given = Object.entries(place).filter(([name, value]) => value && !(name === "view" && value === "grid"));
  return `?${new URLSearchParams(given)}`;
}

/** @param {{changed: () => void, viewed: () => void}} events changed: another list; viewed: the same, seen in another way */
export function createFilters(events) {
  const form = byId("narrow");
  const nav = byId("kinds");
  let place = placeOf(location.search);
  let facets = null;

  function draw() {
    const counts = facets?.counts ?? {};
    nav.replaceChildren(...KINDS.map(({ kind, label, title }) => el(
      "a", { href: searchOf({ ...place, kind }), title, "aria-current": place.kind === kind ? "true" : null, on: { click: (event) => { if (!event.ctrlKey && !event.metaKey) { event.preventDefault(); go({ kind }); } } } },
      label, counts[kind] === undefined ? "" : el("span", { class: "number", text: countWords(counts[kind], facets.count_max) }))));
    fillPeople();
    // What somebody is typing stays as it is.
    for (const name of NAMES) if (form.elements[name] !== document.activeElement) form.elements[name].value = place[name];
    if (facets?.last_round) form.elements.round.max = String(facets.last_round);
    byId("clear").hidden = !isNarrowed();
    byId("one-button").setAttribute("aria-pressed", String(place.view === "one"));
  }

  function fillPeople() {
    const names = new Set([...(facets?.people ?? []), ...(place.annotator ? [place.annotator] : [])]);
    const select = form.elements.annotator;
    if (select.options.length === names.size + 1) return;
    select.replaceChildren(el("option", { value: "", text: "anybody" }), ...[...names].map((name) => el("option", { text: name })));
  }

  const isNarrowed = () => NAMES.some((name) => place[name]);

  /** @param {Partial<Place>} change */
  function go(change) {
    place = { ...place, ...change };
    history.pushState(null, "", searchOf(place));
    draw();
    events.changed();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => go(Object.fromEntries(NAMES.map((name) => [name, form.elements[name].validity.valid ? form.elements[name].value : ""]))));
  byId("clear").addEventListener("click", () => go({ class_name: "", annotator: "", round: "" }));
  addEventListener("popstate", () => {
    const before = place;
    place = placeOf(location.search);
    draw();
    if (searchOf({ ...before, view: place.view }) === searchOf(place)) events.viewed();
    else events.changed();
  });

  return {
    draw,
    /** @param {any} fresh */
    setFacets(fresh) { facets = fresh; draw(); },
    /** @param {"grid"|"one"} view */
    see(view) {
      if (view === place.view) return;
      place = { ...place, view };
      history.pushState(null, "", searchOf(place));
      draw();
      events.viewed();
    },
    get place() { return place; },
    get isNarrowed() { return isNarrowed(); },
  };
}
