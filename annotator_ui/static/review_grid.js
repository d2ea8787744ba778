// The grid of images: moving through it, selecting, and what each tile shows.

import { el, setText } from "./dom.js";
import { beliefWords, marks, rowName } from "./review_words.js";

const THUMB_PX = 256;
const DRAG_PX = 6;

/** @typedef {import("./review_rows.js").Row} Row */

/**
 * @param {HTMLElement} list
 * @param {{position: (name: string) => number, moved: () => void, opened: () => void}} events
 *   position: of a class; moved: another image is current, or other ones are selected
 */
export function createGrid(list, events) {
  /** @type {Row[]} */ let rows = [];
  /** @type {Map<number, HTMLElement>} */ const tiles = new Map();
  /** @type {Set<number>} */ const selected = new Set();
  let at = 0;
  let anchor = 0;

  /** @param {Row} row */
  function makeTile(row) {
    return el("div", { class: "tile", role: "option", tabindex: "-1", id: `tile-${row.id}`, dataset: { id: String(row.id) } },
      el("span", { class: "thumb" }, el("img", { src: row.url.replace(/size=\d+/, `size=${THUMB_PX}`), alt: "", loading: "lazy", decoding: "async", draggable: "false", class: Math.max(row.width, row.height) <= 28 ? "pixels" : null })),
      el("span", { class: "tick", "aria-hidden": "true", text: "✓" }),
      el("span", { class: "said" }, el("i", { "aria-hidden": "true" }), el("b")),
      el("span", { class: "marks" }),
    );
  }

  /** @param {Row} row */
  function draw(row) {
    const tile = tiles.get(row.id);
    if (!tile) return;
    const isCurrent = rows[at] === row;
    const position = row.className === null ? -1 : events.position(row.className);
    tile.setAttribute("aria-selected", String(selected.has(row.id)));
    tile.setAttribute("aria-label", rowName(row));
    tile.tabIndex = isCurrent ? 0 : -1;
    tile.classList.toggle("current", isCurrent);
    tile.classList.toggle("decided", row.isDecided);
    const said = /** @type {HTMLElement} */ (tile.querySelector(".said"));
    said.className = `said${position < 0 ? " none" : ` c${position % 8}`}`;
    setText(/** @type {Element} */ (said.querySelector("b")), beliefWords(row));
    const shown = marks(row);
    const words = shown.map((mark) => `${mark.kind}${mark.text}`).join("|");
    const box = /** @type {HTMLElement} */ (tile.querySelector(".marks"));
    if (box.dataset.words === words) return;
    box.dataset.words = words;
    box.replaceChildren(...shown.map((mark) => el("span", { class: `mark ${mark.kind}`, text: mark.text })));
  }

  /** Show these rows; the current image stays, if it is among them. @param {Row[]} fresh */
  function show(fresh) {
    const before = rows[at]?.id;
    rows = fresh;
    const ids = new Set(rows.map((row) => row.id));
    for (const [id, tile] of tiles) if (!ids.has(id)) { tile.remove(); tiles.delete(id); selected.delete(id); }
    at = Math.max(0, rows.findIndex((row) => row.id === before));
    anchor = at;
    rows.forEach((row, place) => {
      const tile = tiles.get(row.id) ?? makeTile(row);
      tiles.set(row.id, tile);
      if (list.children[place] !== tile) list.insertBefore(tile, list.children[place] ?? null);
      draw(row);
    });
  }

  /** @param {number} to @param {{isRange?: boolean, focus?: boolean}} [how] */
  function moveTo(to, { isRange = false, focus = true } = {}) {
    if (!rows.length) return;
    const from = rows[at];
    at = Math.min(rows.length - 1, Math.max(0, to));
    if (isRange) selectRange();
    else anchor = at;
    draw(from);
    draw(rows[at]);
    const tile = /** @type {HTMLElement} */ (tiles.get(rows[at].id));
    if (focus) tile.focus({ preventScroll: true });
    tile.scrollIntoView({ block: "nearest" });
    events.moved();
  }

  /** Everything between where the range began and here, and nothing else. */
  function selectRange() {
    const [low, high] = [Math.min(anchor, at), Math.max(anchor, at)];
    selected.clear();
    rows.slice(low, high + 1).forEach((row) => selected.add(row.id));
    rows.forEach(draw);
  }

  /** @param {number} place */
  function toggle(place = at) {
    const row = rows[place];
    if (!row) return;
    if (!selected.delete(row.id)) selected.add(row.id);
    anchor = place;
    draw(row);
    events.moved();
  }

  function clear() {
    const had = selected.size > 0;
    selected.clear();
    rows.forEach(draw);
    if (had) events.moved();
    return had;
  }

  /** How many tiles are in a row of the grid. */
  function columns() {
    const top = tiles.get(rows[0]?.id)?.offsetTop;
    const second = rows.findIndex((row) => tiles.get(row.id)?.offsetTop !== top);
    return second < 0 ? Math.max(1, rows.length) : second;
  }

  /** @param {string} action @param {boolean} isRange */
  function move(action, isRange) {
    const step = { left: -1, right: 1, up: -columns(), down: columns() }[action];
    const to = action === "first" ? 0 : action === "last" ? rows.length - 1 : at + /** @type {number} */ (step);
    // Up from the first row and down from the last one stay in their column.
    if ((action === "up" || action === "down") && (to < 0 || to >= rows.length)) return;
    moveTo(to, { isRange });
  }

  wirePointer(list, {
    placeOf: (target) => rows.findIndex((row) => String(row.id) === /** @type {HTMLElement|null} */ (target.closest(".tile"))?.dataset.id),
    tick: (place) => { moveTo(place); toggle(place); },
    press(place, event) {
      if (event.shiftKey) return moveTo(place, { isRange: true });
      if (event.ctrlKey || event.metaKey) { moveTo(place); return toggle(place); }
      clear();
      return moveTo(place);
    },
    drag: (place) => moveTo(place, { isRange: true }),
    open: (place) => { moveTo(place); events.opened(); },
  });
  list.addEventListener("focusin", (event) => {
    const place = rows.findIndex((row) => tiles.get(row.id) === event.target);
    if (place >= 0 && place !== at) moveTo(place, { focus: false });
  });

  return {
    show, draw, move, moveTo, toggle, clear,
    selectAll() { rows.forEach((row) => selected.add(row.id)); rows.forEach(draw); events.moved(); },
    focus: () => tiles.get(rows[at]?.id)?.focus({ preventScroll: true }),
    get at() { return at; },
    /** @returns {Row|undefined} */
    get current() { return rows[at]; },
    /** What an action is about: the selected images, or the current one. @returns {Row[]} */
    get meant() { return selected.size ? rows.filter((row) => selected.has(row.id)) : rows.slice(at, at + 1); },
    get selectedCount() { return selected.size; },
  };
}

/**
 * Click, click on the corner, Shift, Ctrl, drag across tiles, double click.
 * @param {HTMLElement} list
 * @param {{placeOf: (target: Element) => number, tick: (place: number) => void, press: (place: number, event: PointerEvent) => void, drag: (place: number) => void, open: (place: number) => void}} work
 */
function wirePointer(list, work) {
  /** @type {{x: number, y: number, place: number, last: number}|null} */ let held = null;
  list.addEventListener("pointerdown", (event) => {
    const target = /** @type {Element} */ (event.target);
    const place = work.placeOf(target);
    if (event.button !== 0 || place < 0) return;
    if (target.closest(".tick")) { event.preventDefault(); work.tick(place); return; }
    // A finger that moves scrolls; it selects by the corner of a tile.
    if (event.pointerType !== "touch") held = { x: event.clientX, y: event.clientY, place, last: place };
    work.press(place, event);
    event.preventDefault();
  });
  list.addEventListener("pointermove", (event) => {
    if (!held || Math.hypot(event.clientX - held.x, event.clientY - held.y) < DRAG_PX) return;
    const under = document.elementFromPoint(event.clientX, event.clientY);
    const place = under ? work.placeOf(under) : -1;
    if (place < 0 || place === held.last) return;
    held.last = place;
    work.drag(place);
  });
  for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, () => { held = null; });
  list.addEventListener("dblclick", (event) => {
    const place = work.placeOf(/** @type {Element} */ (event.target));
    if (place >= 0 && !(/** @type {Element} */ (event.target).closest(".tick"))) work.open(place);
  });
}
