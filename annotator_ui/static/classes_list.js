// The rows of the classes: key cap in the class's colour, name, labelled images; what merged and split ones became.

import { byId, count, el, plural } from "./dom.js";
import { capOf, standardKeys } from "./keys.js";

const COLOURS = 8;

/**
 * One class as the server tells it.
 * @typedef {{
 *   id: number, name: string, position: number, labels: {pool: number, train: number, evaluation: number},
 *   old_names: string[], merged: string[], retired_at: string|null, merged_into: string|null, split_into: string[],
 *   relabelling: {asked: number, waiting: number}|null,
 * }} ClassState
 */

/** @param {ReturnType<import("./class_dialog.js").createChangeDialog>|null} dialog null: this person may only look */
export function createClassList(dialog) {
  const list = byId("classes");
  /** The class whose name is being typed. */ let renaming = 0;
  let shown = "";
  /** @type {ClassState[]} */ let active = [];
  /** @type {ClassState[]} */ let retired = [];

  /** @param {ClassState[]} now @param {ClassState[]} before */
  function draw(now, before) {
    active = now;
    retired = before;
    const fresh = JSON.stringify([now, before]);
    // Not under somebody who is typing a name.
    if (fresh === shown || renaming) return;
    shown = fresh;
    redraw();
  }

  function redraw() {
    const focused = /** @type {HTMLElement|null} */ (document.activeElement)?.dataset?.key;
    const keys = standardKeys(active);
    list.setAttribute("aria-busy", "false");
    list.hidden = active.length === 0;
    list.replaceChildren(...active.map((known) => row(known, keys.get(known.position))));
    byId("retired-section").hidden = retired.length === 0;
    byId("retired").replaceChildren(...retired.map(gone));
    if (focused) /** @type {HTMLElement|null} */ (list.querySelector(`[data-key="${focused}"]`))?.focus();
  }

  /** @param {ClassState} known @param {string|undefined} key */
  function row(known, key) {
    const { pool, train, evaluation } = known.labels;
    return el("li", { class: `class-row c${known.position % COLOURS}`, dataset: { name: known.name } },
      el("span", { class: "key" }, key ? el("kbd", { class: "cap", text: capOf(key), title: `Key ${capOf(key)}` }) : el("i", { title: "No key of its own: find it by typing" })),
      renaming === known.id ? renameForm(known) : el("div", { class: "who" }, el("b", { text: known.name }), aliases(known)),
      el("div", { class: "number", title: `${count(pool)} of the pool, ${count(train)} imported for training, ${count(evaluation)} kept aside to measure the model` }, plural(pool + train, "label"), evaluation ? el("small", { text: `${count(evaluation)} to measure` }) : null),
      dialog && renaming !== known.id && el("div", { class: "row" },
        button(known, "Rename", () => rename(known.id)),
        active.length > 1 && button(known, "Merge", () => dialog.merge(known)),
        button(known, "Split", () => dialog.split(known)),
      ),
    );
  }

  const button = (known, text, press) => el("button", { class: "button small-button", type: "button", "aria-label": `${text} ${known.name}`, dataset: { key: `${text}-${known.id}` }, text, on: { click: press } });

  function aliases(known) {
    const names = [...known.old_names, ...known.merged];
    return names.length ? el("p", { text: `also means ${names.join(", ")}` }) : null;
  }

  /** @param {number} id 0: nobody's name is being typed */
  function rename(id) {
    const before = renaming;
    renaming = id;
    shown = "";
    draw(active, retired);
    if (id) {
      redraw();
      const input = /** @type {HTMLInputElement|null} */ (list.querySelector(".rename-form input"));
      input?.focus();
      input?.select();
    } else /** @type {HTMLElement|null} */ (list.querySelector(`[data-key="Rename-${before}"]`))?.focus();
  }

  /** @param {ClassState} known */
  function renameForm(known) {
    const input = /** @type {HTMLInputElement} */ (el("input", { value: known.name, "aria-label": `New name of ${known.name}`, maxlength: "100", autocomplete: "off", spellcheck: "false" }));
    const form = el("form", { class: "rename-form" }, input, el("button", { class: "button small-button", type: "submit", text: "Preview" }), el("button", { class: "button small-button", type: "button", text: "Cancel", on: { click: () => rename(0) } }));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const name = input.value.trim();
      rename(0);
      if (name && name !== known.name) dialog?.rename(known, name);
    });
    form.addEventListener("keydown", (event) => { if (event.key === "Escape") rename(0); });
    return form;
  }

  /** @param {ClassState} known */
  function gone(known) {
    const words = known.merged_into ? `merged into ${known.merged_into}` : `split into ${known.split_into.join(", ")}`;
    return el("li", { class: "class-row", dataset: { name: known.name } }, el("div", { class: "who" }, el("b", { text: known.name }), el("p", { text: words }), known.relabelling?.asked ? progress(known.name, known.relabelling) : null));
  }

  /** @param {string} name @param {{asked: number, waiting: number}} relabelling */
  function progress(name, { asked, waiting }) {
    const done = asked - waiting;
    const bar = el("span", { class: "meter", role: "progressbar", "aria-label": `Images of ${name} asked again`, "aria-valuemin": "0", "aria-valuemax": String(asked), "aria-valuenow": String(done) }, el("i"));
    bar.style.setProperty("--part", String(done / asked));
    return el("div", {}, el("p", { text: waiting ? `${count(done)} of ${count(asked)} asked again` : `all ${count(asked)} asked again` }), bar);
  }

  return { draw };
}
