// The dialog with answers that the server did not accept: each can be tried again or forgotten.

import { el, openDialog } from "./dom.js";
import { saidWords } from "./trail.js";

/** @param {ReturnType<import("./sender.js").createSender>} sender */
export function createAsideList(sender) {
  const list = el("ul", { class: "aside-list", id: "aside-list" });
  const dialog = /** @type {HTMLDialogElement} */ (el("dialog", { class: "dialog", id: "aside-dialog", "aria-labelledby": "aside-title" },
    el("div", { class: "dialog-head" }, el("h2", { id: "aside-title", text: "Answers set aside" }), el("button", { class: "icon-button", type: "button", "data-close": true, "aria-label": "Close" }, el("span", { class: "cap", text: "Esc" }))),
    el("p", { class: "quiet", text: "The server did not accept these. They are kept in this browser until you decide; the rest went through." }),
    list,
  ));
  document.body.append(dialog);
  const button = (text, press) => el("button", { class: "button small-button", type: "button", text, on: { click: press } });

  function draw() {
    if (!sender.aside.length && dialog.open) dialog.close();
    list.replaceChildren(...sender.aside.map((entry) => el("li", {},
      entry.imageUrl ? el("img", { src: entry.imageUrl, alt: "" }) : el("span"),
      el("div", {}, el("b", { text: saidWords({ kind: entry.kind ?? "", className: entry.className ?? null }) }), ` · image ${entry.sampleId}`, el("p", { class: "quiet small", text: entry.refused })),
      el("div", { class: "row" }, button("Try again", () => sender.tryAgain(entry.key)), button("Forget", () => sender.dismiss(entry.key))),
    )));
  }

  return { draw, open: () => { draw(); openDialog(dialog); } };
}
