// The table of classes: how many labels each has and how well the model knows it, worst first, sorted as one likes.

import { count, el, percent } from "./dom.js";

/** @typedef {{name: string, labelled: number, f1: number|null, precision: number|null, recall: number|null, support: number|null}} Row */
/** @typedef {"name"|"labelled"|"f1"|"precision"|"recall"|"support"} Column */

/** @type {[Column, string, string|null][]} */
const COLUMNS = [
  ["name", "Class", null],
  ["labelled", "Labelled", "labelled images to learn from"],
  ["f1", "F1", "balance of precision and recall; 100 % is perfect"],
  ["precision", "Precision", "of the images called so, how many are"],
  ["recall", "Recall", "of the images that are, how many were found"],
  ["support", "n", "evaluation images of this class"],
];

const byName = new Intl.Collator("en", { numeric: true }).compare;

/** Rows in that order; those without a value last, whichever way it goes. @param {Row[]} rows @param {Column} column @param {boolean} isRising @returns {Row[]} */
export function sortRows(rows, column, isRising) {
  const sign = isRising ? 1 : -1;
  return [...rows].sort((a, b) => {
    const [one, other] = [a[column], b[column]];
    if (one === null || other === null) return Number(one === null) - Number(other === null);
    return sign * (column === "name" ? byName(a.name, b.name) : Number(one) - Number(other));
  });
}

/** @param {HTMLTableElement} table */
export function createClassTable(table) {
  /** @type {Row[]} */ let rows = [];
  let [column, isRising] = /** @type {[Column, boolean]} */ (["f1", true]);
  let drawn = "";

  const heads = COLUMNS.map(([name, words, title]) => el("th", { scope: "col", class: name === "name" ? null : "number" },
    el("button", { class: "sort", type: "button", title, text: words, on: { click: () => sortBy(name) } })));
  table.tHead?.replaceChildren(el("tr", {}, ...heads));

  function sortBy(name) {
    [column, isRising] = name === column ? [column, !isRising] : [name, true];
    draw();
    table.parentElement?.scrollTo({ top: 0 });
  }

  function draw() {
    COLUMNS.forEach(([name], at) => heads[at].setAttribute("aria-sort", name !== column ? "none" : isRising ? "ascending" : "descending"));
    const most = Math.max(1, ...rows.map((row) => row.labelled));
    table.tBodies[0].replaceChildren(...sortRows(rows, column, isRising).map((row) => tableRow(row, most)));
  }

  return {
    /** @param {any[]} classes labelled counts @param {Record<string, any>} perClass F1 and friends of the last measured round */
    show(classes, perClass) {
      const fresh = JSON.stringify([classes, perClass]);
      if (fresh === drawn) return;
      drawn = fresh;
      rows = classes.map(({ name, labelled }) => {
        const found = perClass[name];
        return { name, labelled, f1: found?.f1 ?? null, precision: found?.precision ?? null, recall: found?.recall ?? null, support: found?.support ?? null };
      });
      draw();
    },
  };
}

function tableRow(row, most) {
  const part = (value) => el("td", { class: "number", text: value === null ? "–" : percent(value, 0) });
  return el("tr", {}, el("th", { scope: "row", title: row.name, text: row.name }),
    withBar(count(row.labelled), row.labelled / most, "bar plain"), row.f1 === null ? part(null) : withBar(percent(row.f1, 0), row.f1, "bar"),
    part(row.precision), part(row.recall), el("td", { class: "number", text: row.support === null ? "–" : count(row.support) }));
}

function withBar(text, part, className) {
  const bar = el("span", { class: className, "aria-hidden": "true" }, el("i"));
  bar.style.setProperty("--part", String(part));
  return el("td", { class: "number" }, bar, el("span", { class: "value", text }));
}
