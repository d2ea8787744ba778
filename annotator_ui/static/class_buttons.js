// Class and action buttons, with the keys that press them printed on their caps.

import { el } from "./dom.js";
import { ACTIONS, capOf } from "./keys.js";

const LIT_MS = 160;
const COLOURS = 8;
/** More classes than this and not every one has a button. */ const SHOWN_MAX = 40;
const RECENT_SHOWN = 4;
const KEPT_MAX = 1000;

/** @typedef {{name: string, position: number, key: string|null}} ClassInfo */

/**
 * A button for every class; where there are very many, for those with a key and for those chosen last.
 * @param {HTMLElement} group
 * @param {ClassInfo[]} classes
 * @param {string[]} recent newest first
 * @param {(name: string) => void} choose
 */
export function createClassButtons(group, classes, recent, choose) {
  const isMany = classes.length > SHOWN_MAX;
  /** @type {Map<string, HTMLElement>} */ let buttons = new Map();
  /** Places of classes without a key; who was chosen last takes the place of who was chosen longest ago. @type {(ClassInfo|null)[]} */ let places = [];
  let isOff = false;

  /** @param {string[]} chosen names chosen last, newest first */
  function draw(chosen) {
    places = isMany ? Array(RECENT_SHOWN).fill(null) : [];
    if (isMany) chosen.map(infoOf).filter((info) => info && !info.key).slice(0, RECENT_SHOWN).forEach((info, at) => { places[at] = /** @type {ClassInfo} */ (info); });
    fill();
  }

  function fill() {
    // Those chosen last come first: rows further down may have to be scrolled to.
    const shown = [...places, ...(isMany ? classes.filter((info) => info.key) : classes)];
    const nodes = shown.map((info) => (info ? button(info) : el("span", { class: "class-place", "aria-hidden": "true" })));
    buttons = new Map(shown.flatMap((info, at) => (info ? [[info.name, nodes[at]]] : [])));
    group.replaceChildren(...nodes);
    setOff(isOff);
  }

  /** @param {ClassInfo} info */
  function button(info) {
    const key = info.key;
    return el(
      "button", { type: "button", class: `class-button c${info.position % COLOURS}`, "aria-keyshortcuts": key && shortcut(key), title: info.name, dataset: { className: info.name }, on: { click: () => choose(info.name) } },
      key && el("span", { class: "cap", text: capOf(key), "aria-hidden": "true" }), el("span", { class: "name", text: info.name }),
    );
  }

  const infoOf = (name) => classes.find((info) => info.name === name);

  /** @param {boolean} on */
  function setOff(on) {
    isOff = on;
    group.classList.toggle("off", on);
    for (const node of buttons.values()) node.setAttribute("aria-disabled", String(on));
  }

  group.classList.toggle("dense", classes.length > 20);
  draw(recent);
  balanceRows(group, classes, () => Math.max(1, group.childElementCount));
  keepPointerFocusAway(group);
  return {
    draw, setOff,
    /** @param {string} name */
    light: (name) => light(buttons.get(name)),
    /** A class was chosen. @param {string} name @param {string[]} newest names chosen last, newest first */
    used(name, newest) {
      const info = infoOf(name);
      if (!isMany || !info || info.key || places.includes(info)) return;
      const age = (place) => (place ? newest.indexOf(place.name) : Infinity);
      const oldest = places.map((place) => (age(place) < 0 ? KEPT_MAX : age(place)));
      places[oldest.indexOf(Math.max(...oldest))] = info;
      fill();
    },
  };
}

/** A key as assistive technology wants it. @param {string} key */
const shortcut = (key) => (key === " " ? "Space" : key.replace("shift+", "Shift+"));

// As many columns as fit, but rows of equal length: ten classes are two fives, not eight and two.
function balanceRows(group, classes, count) {
  const longest = Math.max(0, ...classes.map((info) => info.name.length));
  const arrange = () => {
    const narrow = group.clientWidth < 560;
    const wanted = Math.min(220, Math.max(narrow ? 84 : 116, 62 + longest * 7.5));
    const fit = Math.max(1, Math.min(count(), Math.floor((group.clientWidth + 6) / (wanted + 6))), narrow ? 2 : 1);
    const rows = Math.ceil(count() / fit);
    group.style.setProperty("--columns", String(Math.ceil(count() / rows)));
  };
  new ResizeObserver(arrange).observe(group);
  arrange();
}

/** @param {HTMLElement} group @param {(id: string) => string[]} keysOf @param {(action: string) => void} press */
export function createActionButtons(group, keysOf, press) {
  /** @type {Map<string, HTMLElement>} */ const buttons = new Map();
  let isGrid = false;

  /** The action whose key does this one's work: in the grid Space selects, and the key for similar images skips the rest. @param {string} id */
  const keyed = (id) => (isGrid ? { skip: "similar", similar: "" }[id] ?? id : id);

  function draw() {
    for (const action of ACTIONS.filter((item) => item.button)) {
      const key = keyed(action.id) && keysOf(keyed(action.id))[0];
      buttons.set(action.id, el(
        "button", { type: "button", class: "action", title: action.help, disabled: !keyed(action.id), "aria-keyshortcuts": key && shortcut(key), on: { click: () => press(action.id) }, dataset: { action: action.id } },
        key && el("span", { class: "cap", text: capOf(key), "aria-hidden": "true" }), el("span", { text: action.label }),
      ));
    }
    group.replaceChildren(...buttons.values());
  }

  draw();
  keepPointerFocusAway(group);
  return {
    draw,
    /** Keys as the grid has them, or as usual. @param {boolean} wanted */
    inGrid(wanted) {
      isGrid = wanted;
      draw();
    },
    /** @param {string} id */
    light: (id) => light(buttons.get(id)),
    /** @param {string} id */
    focus: (id) => buttons.get(id)?.focus(),
  };
}

const timers = new WeakMap();

function light(button) {
  if (!button) return;
  clearTimeout(timers.get(button));
  button.classList.add("lit");
  timers.set(button, setTimeout(() => button.classList.remove("lit"), LIT_MS));
}

// A clicked button must not keep the focus: the next Space would press it again instead of skipping. Tab still focuses.
function keepPointerFocusAway(group) {
  group.addEventListener("mousedown", (event) => event.preventDefault());
}
