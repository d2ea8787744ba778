// The help dialog of the review page.

import { el, openDialog } from "./dom.js";
import { REVIEW_ACTIONS, capsOf } from "./review_keys.js";

const KEPT = "Every decision is kept in this browser first and sent right after. “unsaved 0” means the server has all of them. Closing the tab or losing the connection loses nothing.";

/** @param {{enabled: boolean, set: (on: boolean) => void}} singleKeys */
export function createReviewHelp(singleKeys) {
  const box = /** @type {HTMLInputElement} */ (el("input", { type: "checkbox" }));
  box.checked = singleKeys.enabled;
  box.addEventListener("change", () => singleKeys.set(box.checked));
  const caps = (action) => [action.id, ...(action.also ?? [])].flatMap((id) => capsOf(id).slice(0, action.also ? 1 : 2)).concat(action.ctrl ? [`Ctrl ${action.ctrl.toUpperCase()}`] : []);
  const line = (action) => [el("dt", {}, ...caps(action).map((cap) => el("kbd", { text: cap }))), el("dd", { text: action.help })];
  const dialog = /** @type {HTMLDialogElement} */ (el("dialog", { class: "dialog help", id: "help", "aria-labelledby": "help-title" },
    el("div", { class: "dialog-head" }, el("h2", { id: "help-title", text: "Keys" }), el("button", { class: "icon-button", type: "button", "data-close": true, "aria-label": "Close" }, el("span", { class: "cap", text: "Esc" }))),
    el("dl", { class: "keys" },
      el("dt", {}, el("kbd", { text: "1" }), el("kbd", { text: "2" }), el("kbd", { text: "…" })), el("dd", { text: "this is its class; the key is printed on each class, the same as on the label page" }),
      ...REVIEW_ACTIONS.filter((action) => action.help).flatMap(line)),
    el("label", { class: "choice" }, box, " Single keys decide (switch off when a screen reader or voice control types for you)"),
    el("p", { class: "quiet small", text: KEPT }),
  ));
  document.body.append(dialog);
  return { open: () => openDialog(dialog) };
}
