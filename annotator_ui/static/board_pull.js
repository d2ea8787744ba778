// The board's number for what suggestions do to people. It counts all answers, so it is asked for now and then only.

import { setText } from "./dom.js";
import { points, pullWords } from "./pull_words.js";

const EVERY_MS = 60_000;

/**
 * @param {ReturnType<import("./api.js").createApi>} api @param {string} path of the project
 * @param {HTMLElement} row with a dd for the number
 */
export function createPull(api, path, row) {
  async function ask() {
    if (document.hidden) return;
    try {
      const pull = await api.call("GET", `${path}/suggestions/pull`);
      setText(/** @type {HTMLElement} */ (row.querySelector("dd")), pull.difference === null ? "not known yet" : points(pull.difference));
      row.title = pullWords(pull);
      row.hidden = false;
    } catch { /* the rest of the board says what is wrong; the number of before stays */ }
  }

  setInterval(ask, EVERY_MS);
  ask();
}
