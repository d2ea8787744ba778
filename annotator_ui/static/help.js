// The help dialog: every key and what it does, and the switch for single keys.

import { el, openDialog } from "./dom.js";
import { wordsOf } from "./key_words.js";
import { ACTIONS, capOf } from "./keys.js";

const KEPT = "Every answer is kept in this browser first and sent right after. “unsaved 0” means the server has all of them on disk. Closing the tab or losing the connection loses nothing.";

/**
 * The help dialog, filled from the key map whenever it opens.
 * @param {{enabled: boolean, set: (on: boolean) => void}} singleKeys @param {() => ReturnType<import("./keys.js").createKeyMap>} getMap
 * @param {import("./class_buttons.js").ClassInfo[]} classes @param {() => void} change opens the dialog in which keys are changed
 */
export function createHelp(singleKeys, getMap, classes, change) {
  const list = el("dl", { class: "keys", id: "help-keys" });
  const box = /** @type {HTMLInputElement} */ (el("input", { type: "checkbox", id: "single-keys" }));
  const dialog = /** @type {HTMLDialogElement} */ (el("dialog", { class: "dialog help", id: "help", "aria-labelledby": "help-title" },
    el("div", { class: "dialog-head" }, el("h2", { id: "help-title", text: "Keys" }), el("button", { class: "icon-button", type: "button", "data-close": true, "aria-label": "Close" }, el("span", { class: "cap", text: "Esc" }))),
    list,
    el("label", { class: "choice" }, box, " Single keys answer (switch off when a screen reader or voice control types for you)"),
    el("p", {}, el("button", { class: "button", type: "button", text: "Change keys", on: { click: () => { dialog.close(); change(); } } })),
    el("p", { class: "quiet small", text: KEPT }),
  ));
  document.body.append(dialog);
  const row = (caps, words) => [el("dt", {}, ...caps.map((cap) => el("kbd", { text: cap }))), el("dd", { text: words })];
  box.checked = singleKeys.enabled;
  box.addEventListener("change", () => singleKeys.set(box.checked));

  function open() {
    const keysOf = (action) => [action.id, ...(action.also ?? [])].flatMap((id) => getMap().actionKeys(id).slice(0, action.also ? 1 : 2));
    const first = classes.filter((info) => info.key).slice(0, 2).map((info) => capOf(/** @type {string} */ (info.key)));
    list.replaceChildren(
      ...row(classes.length > 2 ? [...first, "…"] : first, "choose that class, save, next image; the key is printed on each button"),
      ...ACTIONS.filter((action) => wordsOf(action).help).flatMap((action) => row(keysOf(action).length ? keysOf(action).map(capOf) : ["–"], wordsOf(action).help)),
    );
    openDialog(dialog);
  }

  return { open };
}
