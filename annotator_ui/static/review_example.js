// The image in view as an example of its class, which the guidelines show to everybody who labels; and taking it back.

import { ApiError } from "./api.js";
import { el, openDialog, setText } from "./dom.js";
import { troubleWords } from "./retry.js";
import { acceptable } from "./review_rows.js";

const NOTE_LENGTH_MAX = 300;

/**
 * @typedef {import("./review_rows.js").Row} Row
 * @typedef {{api: ReturnType<import("./api.js").createApi>, path: string, rows: {all: Row[], find: (id: number) => Row|undefined}, say: (words: string) => void, drawn: (row: Row) => void, signedOut: () => void}} Desk path: that of the project
 */

/** @param {Desk} desk */
export function createExamples(desk) {
  /** What the guidelines show, by sample. @type {Map<number, NonNullable<Row["example"]>>} */ let known = new Map();
  /** @type {string|null} */ let etag = null;
  /** @type {ReturnType<typeof makeDialog>|null} */ let dialog = null;
  let sampleId = 0;
  let className = "";

  /** Every image says whether it is one. */
  function mark() {
    for (const row of desk.rows.all) row.example = known.get(row.id) ?? null;
  }

  async function load() {
    const reply = await desk.api.changed(`${desk.path}/examples`, etag).catch(() => null);
    if (!reply) return; // as before, or it comes with the next Refresh
    etag = reply.etag;
    known = new Map(reply.data.examples.map(({ sample_id, class_name, note }) => [sample_id, { className: class_name, note }]));
    mark();
    desk.rows.all.forEach(desk.drawn);
  }

  /** @param {Row} row */
  function open(row) {
    const name = acceptable(row);
    if (name === null) return desk.say("Nobody said what this is. Choose a class first.");
    dialog ??= makeDialog({ keep: () => send("PUT"), remove: () => send("DELETE") });
    [sampleId, className] = [row.id, name];
    dialog.open(name, row.example);
    return undefined;
  }

  /** @param {"PUT"|"DELETE"} method */
  async function send(method) {
    const [id, name, made] = [sampleId, className, /** @type {NonNullable<typeof dialog>} */ (dialog)];
    const example = method === "PUT" ? { className: name, note: made.note } : null;
    made.wait();
    try {
      await desk.api.call(method, `/samples/${id}/example`, example ? { class_name: name, note: example.note } : undefined);
    } catch (error) {
      // Somebody else took it back before: that is what was wanted.
      const isGone = method === "DELETE" && error instanceof ApiError && error.status === 404;
      if (!isGone) {
        made.refused(troubleWords(error));
        if (error instanceof ApiError && error.status === 401) desk.signedOut();
        return;
      }
    }
    made.close();
    if (example) known.set(id, example);
    else known.delete(id);
    const row = desk.rows.find(id);
    if (row) desk.drawn(Object.assign(row, { example }));
    desk.say(example ? `The guidelines show it as ${name}` : "The guidelines show it no more");
  }

  return { mark, load, open };
}

/** @param {{keep: () => void, remove: () => void}} work */
function makeDialog(work) {
  const title = el("h2", { id: "example-title" });
  const words = el("p", { class: "quiet" });
  const input = /** @type {HTMLInputElement} */ (el("input", { maxlength: String(NOTE_LENGTH_MAX), autocomplete: "off", autofocus: true }));
  const problem = el("p", { class: "form-error", role: "alert" });
  const remove = /** @type {HTMLButtonElement} */ (el("button", { class: "button", type: "button", text: "Show it no more", on: { click: work.remove } }));
  const keep = /** @type {HTMLButtonElement} */ (el("button", { class: "button primary", type: "submit" }));
  const form = el("form", { novalidate: true },
    el("div", { class: "dialog-head" }, title, el("button", { class: "icon-button", type: "button", "data-close": true, "aria-label": "Close" }, el("span", { class: "cap", text: "Esc" }))),
    words,
    el("label", { class: "field" }, el("span", { text: "What to look at" }), input, el("small", { text: "One line below the image; may be empty." })),
    problem, el("div", { class: "row end" }, remove, keep));
  const dialog = /** @type {HTMLDialogElement} */ (el("dialog", { class: "dialog", id: "example-dialog", "aria-labelledby": "example-title" }, form));
  form.addEventListener("submit", (event) => { event.preventDefault(); if (!keep.disabled) work.keep(); });
  document.body.append(dialog);

  const busy = (on) => { keep.disabled = on; remove.disabled = on; };
  return {
    /** @param {string} name @param {Row["example"]} example */
    open(name, example) {
      setText(title, `Example of ${name}`);
      const other = example && example.className !== name ? `It is shown as ${example.className} now. ` : "";
      setText(words, `${other}Everybody who labels sees it in the guidelines, below the class.`);
      setText(keep, example ? "Save" : "Show as example");
      input.value = example?.note ?? "";
      remove.hidden = !example;
      setText(problem, "");
      busy(false);
      openDialog(dialog);
    },
    get note() { return input.value.trim(); },
    wait() { setText(problem, ""); busy(true); },
    /** @param {string} why */
    refused(why) { busy(false); setText(problem, why); input.focus(); },
    close: () => dialog.close(),
  };
}
