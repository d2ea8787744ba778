// The dialog in which people set how many answers they want to give in this session.

import { el, openDialog } from "./dom.js";

/** @param {ReturnType<import("./pace.js").createPace>} pace @param {() => void} changed */
export function createGoal(pace, changed) {
  const input = /** @type {HTMLInputElement} */ (el("input", { name: "goal", type: "number", min: "0", max: "100000", step: "1", inputmode: "numeric" }));
  const form = el("form", { method: "dialog", id: "goal-form", on: { submit: () => {
    pace.goal = Math.max(0, Math.floor(Number(input.value) || 0));
    changed();
  } } },
    el("h2", { id: "goal-title", text: "Goal for a session" }),
    el("label", { class: "field" }, el("span", { text: "Answers" }), input, el("small", { text: "0 means no goal. Only you see it." })),
    el("div", { class: "row end" }, el("button", { class: "button", type: "button", "data-close": true, text: "Close" }), el("button", { class: "button primary", type: "submit", text: "Set" })),
  );
  const dialog = /** @type {HTMLDialogElement} */ (el("dialog", { class: "dialog", id: "goal-dialog", "aria-labelledby": "goal-title" }, form));
  document.body.append(dialog);
  return {
    open() {
      input.value = String(pace.goal || "");
      openDialog(dialog);
      input.select();
    },
  };
}
