// The last answers: what was said, whether the server has it, and looking back at one of them.

import { el, setText } from "./dom.js";

/**
 * @typedef {object} Past
 * @property {string|null} key          the client key, null for answers of an earlier visit
 * @property {number|null} annotationId
 * @property {import("./hand.js").Item} item
 * @property {string} kind
 * @property {string|null} className
 * @property {"unsaved"|"saved"|"refused"} state
 * @property {string|null} [stroke]     answers of one key press share it
 */

const KEPT = 50;
const SHOWN = 24;

/** What was said, in a word or two. @param {{kind: string, className: string|null}} past */
export const saidWords = (past) => (past.kind === "label" ? past.className ?? "" : past.kind === "skip" ? "skipped" : "flagged");

const STATE_WORDS = { unsaved: "unsaved", saved: "", refused: "set aside" };

/** @param {HTMLElement} list @param {(at: number) => void} lookAt */
export function createTrail(list, lookAt) {
  /** @type {Past[]} newest first */ let past = [];
  let looked = 0;
  /** @type {Map<Past, HTMLElement>} */ const rows = new Map();

  function draw() {
    const shown = past.slice(0, SHOWN);
    for (const [item, row] of rows) if (!shown.includes(item)) { row.remove(); rows.delete(item); }
    shown.forEach((item, at) => {
      const row = rows.get(item) ?? makeRow(item);
      row.dataset.state = item.state;
      row.firstElementChild?.setAttribute("aria-current", String(looked === at + 1));
      setText(/** @type {Element} */ (row.querySelector("small")), STATE_WORDS[item.state]);
      if (list.children[at] !== row) list.insertBefore(row, list.children[at] ?? null);
    });
  }

  function makeRow(item) {
    const image = el("img", { src: item.item.url, alt: "", loading: "lazy", class: Math.max(item.item.width, item.item.height) <= 28 ? "pixels" : null });
    const row = el("li", {}, el("button", { type: "button", on: { click: () => lookAt(past.indexOf(item) + 1), mousedown: (event) => event.preventDefault() } },
      el("span", { class: "thumb" }, image), el("span", { class: "said" }, el("span", { text: saidWords(item) }), el("small"))));
    rows.set(item, row);
    return row;
  }

  return {
    /** @param {Past} item */
    add(item) { past = [item, ...past].slice(0, KEPT); draw(); },
    /** Answers of an earlier visit go behind the new ones. @param {Past[]} older */
    addOlder(older) {
      const known = new Set(past.map((item) => item.item.sampleId));
      past = [...past, ...older.filter((item) => !known.has(item.item.sampleId))];
      draw();
    },
    /** @param {Past} item */
    remove(item) { past = past.filter((other) => other !== item); draw(); },
    /** @param {string} key @param {Partial<Past>} change */
    update(key, change) {
      const item = past.find((other) => other.key === key);
      if (item) { Object.assign(item, change); draw(); }
    },
    /** 0: the image in hand; 1: the newest answer … @param {number} at */
    look(at) { looked = at; draw(); },
    /** @param {number} at @returns {Past|undefined} */
    at: (at) => past[at - 1],
    get looked() { return looked; },
    get length() { return past.length; },
  };
}
