// The examples in the preview: drawn by the module that draws them on the label page, with a button each to remove it.

import { byId, el, setText } from "./dom.js";
import { createExamples } from "./label_examples.js";
import { troubleWords } from "./retry.js";

/** @typedef {{sample_id: number, class_name: string, note: string}} Example */

/**
 * @param {ReturnType<import("./api.js").createApi>} api @param {string} project
 * @param {{name: string, position: number}[]} classes
 * @param {(count: number) => void} counted how many there are
 */
export function createExampleList(api, project, classes, counted) {
  const panel = byId("preview");
  const again = byId("show-again");
  /** In the order in which they are drawn. @type {Example[]} */ let shown = [];
  /** @type {Example|null} */ let removed = null;
  const list = createExamples({ ...api, changed: watched }, project, panel, classes);

  /** @type {typeof api.changed} */
  async function watched(path, etag) {
    const reply = await api.changed(path, etag);
    if (reply) shown = reply.data.examples;
    return reply;
  }

  async function load() {
    await list.load();
    panel.querySelectorAll(".examples li").forEach((place, at) => {
      const one = shown[at];
      if (!one || place.querySelector("button")) return;
      const name = `Remove the example of ${one.class_name}${one.note ? `: ${one.note}` : ""}`;
      place.append(el("button", { class: "button small-button", type: "button", text: "Remove", "aria-label": name, on: { click: () => remove(one, at) } }));
    });
    counted(shown.length);
  }

  /** @param {Example} one @param {number} at */
  async function remove(one, at) {
    if (!(await told("DELETE", one, `The guidelines show it no more as ${one.class_name}.`))) return;
    removed = one;
    again.hidden = false;
    const buttons = /** @type {NodeListOf<HTMLElement>} */ (panel.querySelectorAll(".examples button"));
    (buttons[Math.min(at, buttons.length - 1)] ?? again).focus();
  }

  async function bringBack() {
    if (!removed || !(await told("PUT", removed, `The guidelines show it as ${removed.class_name} again.`))) return;
    removed = null;
    again.hidden = true;
    /** @type {HTMLElement|null} */ (panel.querySelector(".examples button"))?.focus();
  }

  /** @param {"PUT"|"DELETE"} method @param {Example} one @param {string} words when it is done */
  async function told(method, one, words) {
    try {
      await api.call(method, `/samples/${one.sample_id}/example`, method === "PUT" ? { class_name: one.class_name, note: one.note } : undefined);
    } catch (error) {
      setText(byId("removed"), troubleWords(error));
      return false;
    }
    setText(byId("removed"), words);
    await load();
    return true;
  }

  again.addEventListener("click", bringBack);
  // Examples are chosen in Review, perhaps in the next tab.
  document.addEventListener("visibilitychange", () => { if (!document.hidden) load(); });
  return { load };
}
