// Hands on the image: drag, wheel, two fingers, double tap.

const WHEEL = 0.0015;
const TRACKPAD = 0.01; // browsers report a pinch on a trackpad as a wheel with Ctrl, in small steps
const LINE_PX = 16;

/** @param {HTMLElement} stage @param {ReturnType<import("./viewer.js").createViewer>} viewer */
export function wireGestures(stage, viewer) {
  /** @type {Map<number, import("./viewer.js").Point>} */ const fingers = new Map();
  const isOurs = (event) => viewer.hasImage && !(/** @type {Element} */ (event.target).closest("button, input, .view-panel"));

  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !isOurs(event)) return;
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, viewer.pointOf(event));
    stage.classList.add("held");
  });
  stage.addEventListener("pointermove", (event) => {
    const point = viewer.pointOf(event);
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    fingers.set(event.pointerId, point);
    if (!others.length) viewer.moveBy(point.x - before.x, point.y - before.y);
    else pinch(before, point, others[0]);
  });
  for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, (event) => {
    fingers.delete(/** @type {PointerEvent} */ (event).pointerId);
    stage.classList.toggle("held", fingers.size > 0);
  });
  stage.addEventListener("wheel", (event) => {
    if (!isOurs(event)) return;
    event.preventDefault();
    const turned = event.deltaY * (event.deltaMode === 1 ? LINE_PX : 1);
    viewer.zoomBy(Math.exp(-turned * (event.ctrlKey ? TRACKPAD : WHEEL)), viewer.pointOf(event));
  }, { passive: false });
  stage.addEventListener("dblclick", (event) => {
    if (!isOurs(event)) return;
    viewer.pointOf(event);
    viewer.toggleZoom();
  });

  function pinch(before, after, other) {
    const apart = (one) => Math.max(1, Math.hypot(one.x - other.x, one.y - other.y));
    viewer.moveBy((after.x - before.x) / 2, (after.y - before.y) / 2);
    viewer.zoomBy(apart(after) / apart(before), { x: (after.x + other.x) / 2, y: (after.y + other.y) / 2 });
  }
}
