// What keys and buttons do on the label page.

import { byId, isTyping } from "./dom.js";

const MAY_REPEAT = ["back", "forward", "larger", "smaller", "pan-left", "pan-right", "pan-up", "pan-down", "brighter", "darker", "harder", "softer"];
const PAN_PX = 60;

/**
 * The work behind each action of the key map.
 * @param {import("./label.js").Desk} desk
 * @param {ReturnType<import("./label_stage.js").createStage>} stage
 * @param {ReturnType<import("./label_answers.js").createAnswers>} answers
 * @returns {(id: string) => void}
 */
export function createActions(desk, stage, answers) {
  const { view, viewer, levels, trail, guide, finder, actionButtons, parts } = desk;
  const light = (id) => () => actionButtons.light(id);
  const plain = () => { viewer.plain(); levels.reset(); view.toast("Size, brightness and contrast as they were"); };
  const panel = (module) => module.createViewPanel(byId("stage"), viewer, levels, plain, actionButtons);
  const work = {
    find: () => finder.open(),
    skip: () => answers.answer("skip", null, light("skip")),
    flag: () => answers.answer("flag", null, light("flag")),
    accept: () => parts.use("suggestion", (module) => module.createSuggestion(desk, byId("stage"), answers.choose), (made) => { light("accept")(); made.press(); }),
    undo: () => { actionButtons.light("undo"); answers.undo(); },
    back: () => stage.lookAt(trail.looked + 1),
    forward: () => stage.lookAt(trail.looked - 1),
    zoom: viewer.toggleZoom, larger: viewer.larger, smaller: viewer.smaller,
    "pan-left": () => viewer.moveBy(PAN_PX, 0), "pan-right": () => viewer.moveBy(-PAN_PX, 0),
    "pan-up": () => viewer.moveBy(0, PAN_PX), "pan-down": () => viewer.moveBy(0, -PAN_PX),
    brighter: () => view.toast(levels.step("brightness", 1)), darker: () => view.toast(levels.step("brightness", -1)),
    harder: () => view.toast(levels.step("contrast", 1)), softer: () => view.toast(levels.step("contrast", -1)),
    plain,
    heat: () => parts.use("heat", (module) => module.createHeatMap(desk), (made) => { light("heat")(); made.press(); }),
    view: () => parts.use("view", panel, (made) => made.toggle()),
    pixels: () => view.toast(viewer.togglePixels() ? "Sharp pixels" : "Smoothed"),
    similar: () => parts.use("similar", (module) => module.createSimilar(desk, byId("stage")), (made) => { light("similar")(); made.toggle(); }),
    grid: () => parts.use("grid", (module) => module.createGrid(desk, stage, answers, desk.ask), (made) => made.toggle()),
    guide: () => (guide.hasText ? guide.toggle() : view.toast("This project has no guidelines yet.")),
    help: () => desk.openHelp(),
    close: () => { if (!parts.made("view")?.close() && !parts.made("suggestion")?.close() && !parts.made("heat")?.close() && !parts.made("similar")?.close() && !guide.close()) stage.lookAt(0); },
  };
  return (id) => { if (!parts.made("grid")?.act(id)) work[id]?.(); };
}

/**
 * @param {import("./label.js").Desk} desk
 * @param {(id: string) => void} act
 * @param {(name: string) => void} choose
 */
export function listenToKeys(desk, act, choose) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const target = event.target instanceof Element ? event.target : document.body;
    if (isTyping(target)) return;
    // On a button reached with Tab, Enter and Space press that button; holding them down presses it once.
    if ((event.key === " " || event.key === "Enter") && target.closest("button, a")) {
      if (event.repeat) event.preventDefault();
      return;
    }
    const meant = desk.keys.map.meaning(event);
    if (!meant || (!desk.singleKeys.enabled && event.key.length === 1 && !event.ctrlKey && !event.metaKey)) return;
    event.preventDefault();
    if (event.repeat && !("action" in meant && MAY_REPEAT.includes(meant.action))) return;
    if ("action" in meant) return act(meant.action);
    const chosen = desk.classes.find((info) => info.position === meant.position);
    return chosen && choose(chosen.name);
  });
  // A clicked button does not keep the focus, so that the next Space skips instead of pressing it again.
  document.addEventListener("mousedown", (event) => {
    const target = /** @type {Element} */ (event.target);
    if (target.closest("button") && !target.closest("dialog, .menu")) event.preventDefault();
  });
}

/** A switch that stays as it was put; on by default. @param {string} name */
export function storedSwitch(name) {
  let enabled = true;
  try { enabled = localStorage.getItem(name) !== "off"; } catch { /* private mode */ }
  return {
    get enabled() { return enabled; },
    /** @param {boolean} on */
    set(on) {
      enabled = on;
      try { localStorage.setItem(name, on ? "on" : "off"); } catch { /* lasts as long as the page */ }
    },
  };
}
