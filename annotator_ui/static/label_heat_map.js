// What the model looks at in the image in hand, laid over it: nothing until the person asks, and for some images nothing at all.

import { ApiError } from "./api.js";
import { byId, el } from "./dom.js";
import { hasModel } from "./has_model.js";

const NO_MODEL = "There is no model yet: it learns from the first answers, and has heat maps from the next round on.";
const BLIND = "This image is kept blind: some go without a heat map, to see how much the model's view sways people.";
const AWAY = "The heat map does not come right now. Labelling goes on.";
const NO_MAP = "no_heat_map";
/** An image that is longer than wide by less is as good as square. */ const ABOUT_SQUARE = 1.05;

/**
 * The first press shows the map of the likeliest class, the second one hides it.
 * @param {import("./label.js").Desk} desk
 */
export function createHeatMap(desk) {
  const [stage, frame] = [byId("stage"), byId("frame")];
  const layer = el("div", { class: "frame heat", "aria-hidden": "true", hidden: true });
  const choices = el("span", { class: "heat-classes", role: "group", "aria-label": "Class" });
  const note = el("span", { text: "It sees only the middle square." });
  const legend = el("div", { class: "heat-legend", role: "group", "aria-label": "Heat map", hidden: true },
    el("span", { role: "status", text: "What makes the model think" }), choices,
    el("span", { class: "heat-scale" }, "little", el("i", { "aria-hidden": "true" }), "much"), note);
  frame.after(layer);
  stage.append(legend);
  /** The image that the maps are of. @type {import("./hand.js").Item|null} */ let item = null;
  /** @type {string[]} */ let names = [];
  let chosen = "";
  let isAsking = false;

  const isInView = (one) => desk.view.state === "image" && desk.hand.current === one && !desk.trail.looked;
  const urlOf = (name) => `/api/v1/samples/${item?.sampleId}/explanations/cam?class=${encodeURIComponent(name)}`;

  async function ask() {
    const wanted = desk.hand.current;
    if (!wanted?.id || !isInView(wanted) || isAsking) return;
    isAsking = true;
    try {
      const told = await desk.api.call("POST", `/assignments/${wanted.id}/heat-map`);
      if (!isInView(wanted)) return;
      if (told.blind) return desk.view.toast((await hasModel(desk)) ? BLIND : NO_MODEL);
      [item, names] = [wanted, told.class_names];
      await choose(names[0]);
    } catch (error) {
      const isSaid = error instanceof ApiError && error.code === NO_MAP;
      if (isInView(wanted)) desk.view.toast(isSaid ? error.message : AWAY);
    } finally {
      isAsking = false;
    }
  }

  /** Show the map of that class once it is there. @param {string} name */
  async function choose(name) {
    const of = item;
    const map = Object.assign(new Image(), { alt: "", src: urlOf(name) });
    await map.decode();
    if (!of || of !== item || !isInView(of)) return;
    chosen = name;
    layer.replaceChildren(map);
    follow();
    draw();
  }

  function draw() {
    const hadFocus = choices.contains(document.activeElement);
    choices.replaceChildren(...names.map((name) => el("button", { type: "button", "aria-pressed": String(name === chosen), text: name, on: { click: () => choose(name).catch(() => desk.view.toast(AWAY)) } })));
    if (hadFocus) /** @type {HTMLElement|null} */ (choices.querySelector("[aria-pressed=true]"))?.focus();
    note.hidden = isAboutSquare(item);
    layer.hidden = legend.hidden = false;
  }

  /** The map lies where the image lies, however it is zoomed and moved. */
  function follow() {
    const image = frame.querySelector("img");
    const map = layer.querySelector("img");
    if (!image || !map) return;
    for (const name of ["width", "height", "transform"]) map.style.setProperty(name, image.style.getPropertyValue(name));
  }

  function hide() {
    layer.hidden = legend.hidden = true;
  }

  // The map belongs to one image: it goes with it, and the next one is blind again.
  new MutationObserver(() => { if (!layer.hidden && !isInView(item)) hide(); }).observe(stage, { attributes: true, attributeFilter: ["data-sample", "data-state"] });
  new MutationObserver(follow).observe(frame, { attributes: true, attributeFilter: ["style"], subtree: true });

  return {
    press() {
      if (!layer.hidden) return hide();
      if (item && item === desk.hand.current && isInView(item) && layer.firstChild) { follow(); return draw(); }
      return ask();
    },
    close() { const wasOpen = !layer.hidden; hide(); return wasOpen; },
  };
}

/** @param {{width: number, height: number}|null} item */
function isAboutSquare(item) {
  if (!item?.width || !item.height) return true;
  return Math.max(item.width, item.height) / Math.min(item.width, item.height) < ABOUT_SQUARE;
}
