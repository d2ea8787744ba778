// Hands on the grid: click, Shift and click, a rectangle with the mouse, a tap, a long press to look closely.

import { el } from "./dom.js";

const DRAG_FROM_PX = 6;
const LONG_PRESS_MS = 450;

/**
 * @param {HTMLElement} box what holds the tiles
 * @param {() => Map<number, HTMLElement>} tiles
 * @param {{press: (id: number, isRange: boolean) => void, sweep: (ids: number[]) => void, look: (id: number) => void}} hands
 */
export function wireGridPointer(box, tiles, hands) {
  const mark = el("div", { class: "grid-mark", "aria-hidden": "true" });
  /** @type {{x: number, y: number, id: number, isMouse: boolean}|null} */ let start = null;
  let isDrag = false;
  let wasLooked = false;
  let pressTimer = 0;

  const tileAt = (target) => Number(/** @type {HTMLElement|null} */ (/** @type {Element} */ (target).closest("[data-sample]"))?.dataset.sample ?? 0);
  const rectangle = (event) => ({ left: Math.min(start.x, event.clientX), top: Math.min(start.y, event.clientY), right: Math.max(start.x, event.clientX), bottom: Math.max(start.y, event.clientY) });

  box.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    start = { x: event.clientX, y: event.clientY, id: tileAt(event.target), isMouse: event.pointerType !== "touch" };
    isDrag = wasLooked = false;
    box.setPointerCapture(event.pointerId);
    const { id, isMouse } = start;
    if (id && !isMouse) pressTimer = setTimeout(() => { wasLooked = true; hands.look(id); }, LONG_PRESS_MS);
  });
  box.addEventListener("pointermove", (event) => {
    if (!start || (!isDrag && Math.hypot(event.clientX - start.x, event.clientY - start.y) < DRAG_FROM_PX)) return;
    clearTimeout(pressTimer);
    isDrag = true;
    const found = rectangle(event);
    const frame = box.getBoundingClientRect();
    Object.assign(mark.style, { left: `${found.left - frame.left}px`, top: `${found.top - frame.top}px`, width: `${found.right - found.left}px`, height: `${found.bottom - found.top}px` });
    if (!mark.isConnected) box.append(mark);
  });
  box.addEventListener("pointerup", (event) => {
    const begun = start;
    if (begun && isDrag) hands.sweep(covered(tiles(), rectangle(event)));
    else if (begun?.id && !wasLooked) hands.press(begun.id, event.shiftKey);
    stop();
  });
  box.addEventListener("pointercancel", stop);
  box.addEventListener("contextmenu", (event) => { if (wasLooked) event.preventDefault(); });

  function stop() {
    clearTimeout(pressTimer);
    start = null;
    isDrag = false;
    mark.remove();
  }
}

/** @param {Map<number, HTMLElement>} tiles @param {{left: number, top: number, right: number, bottom: number}} area */
function covered(tiles, area) {
  return [...tiles].filter(([, tile]) => {
    const at = tile.getBoundingClientRect();
    return at.left < area.right && at.right > area.left && at.top < area.bottom && at.bottom > area.top;
  }).map(([id]) => id);
}
