// What the stage says when there is no image: a title, a sentence, and what can be done.

import { el } from "./dom.js";

/** @param {string} title @param {string} text @param {{label: string, press: () => void}} [button] */
export function plainNote(title, text, button) {
  return [
    el("h2", { text: title }),
    el("p", { text }),
    button ? el("button", { class: "button", type: "button", text: button.label, on: { click: button.press } }) : el("span", { class: "waiting", "aria-hidden": "true" }),
  ];
}
