// Class and action buttons, with the keys that press them printed on their caps.

import { el } from "./dom.js";
import { ACTIONS } from "./keys.js";

const LIT_MS = 160;
const COLOURS = 8;

/** @typedef {{name: string, position: number, key: string|null}} ClassInfo */

/**
 * @param {HTMLElement} group
 * @param {ClassInfo[]} classes
 * @param {(name: string) => void} choose
 */
export function createClassButtons(group, classes, choose) {
  const buttons = classes.map((info) => {
    const key = info.key;
    const button = el(
      "button", { type: "button", class: `class-button c${info.position % COLOURS}`, "aria-keyshortcuts": key, title: info.name, dataset: { className: info.name } },
      key && el("span", { class: "cap", text: key.toUpperCase(), "aria-hidden": "true" }), el("span", { class: "name", text: info.name }),
    );
    button.addEventListener("click", () => choose(info.name));
    return button;
  });
  group.classList.toggle("dense", classes.length > 20);
  balanceRows(group, classes);
  group.replaceChildren(...buttons);
  keepPointerFocusAway(group);
  return {
    /** @param {string} name */
    light: (name) => light(buttons[classes.findIndex((info) => info.name === name)]),
    /** @param {boolean} on */
    setOff(on) {
      group.classList.toggle("off", on);
      for (const button of buttons) button.setAttribute("aria-disabled", String(on));
    },
  };
}

// As many columns as fit, but rows of equal length: ten classes are two fives, not eight and two.
function balanceRows(group, classes) {
  const longest = Math.max(0, ...classes.map((info) => info.name.length));
  const arrange = () => {
    const narrow = group.clientWidth < 560;
    const wanted = Math.min(220, Math.max(narrow ? 84 : 116, 62 + longest * 7.5));
    const fit = Math.max(1, Math.min(classes.length, Math.floor((group.clientWidth + 6) / (wanted + 6))), narrow ? 2 : 1);
    const rows = Math.ceil(classes.length / fit);
    group.style.setProperty("--columns", String(Math.max(1, Math.ceil(classes.length / rows))));
  };
  new ResizeObserver(arrange).observe(group);
  arrange();
}

/** @param {HTMLElement} group @param {(action: string) => void} press */
export function createActionButtons(group, press) {
  const buttons = new Map(ACTIONS.filter((action) => action.button).map((action) => [action.id, el(
    "button", { type: "button", class: "action", title: action.help, "aria-keyshortcuts": action.keys[0] === " " ? "Space" : action.keys[0], on: { click: () => press(action.id) }, dataset: { action: action.id } },
    el("span", { class: "cap", text: action.caps[0], "aria-hidden": "true" }), el("span", { text: action.label }),
  )]));
  group.replaceChildren(...buttons.values());
  keepPointerFocusAway(group);
  return { /** @param {string} id */ light: (id) => light(buttons.get(id)) };
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
