// The panel with zoom, brightness and contrast: for touch, and for whoever likes to see what can be turned.

import { el, setText } from "./dom.js";
import { createFocusBack } from "./focus_back.js";
import { RANGES } from "./levels.js";

const percent = (part) => `${Math.round(part * 100)} %`;

/**
 * @param {HTMLElement} stage
 * @param {ReturnType<import("./viewer.js").createViewer>} viewer
 * @param {ReturnType<import("./levels.js").createLevels>} levels
 * @param {() => void} plainAgain
 * @param {Parameters<typeof createFocusBack>[0]} actionButtons
 */
export function createViewPanel(stage, viewer, levels, plainAgain, actionButtons) {
  const focusBack = createFocusBack(actionButtons);
  const button = (text, label, press) => el("button", { class: "button small-button", type: "button", text, "aria-label": label, on: { click: press } });
  const zoomed = el("output", { text: "100 %" });
  const sliders = ["brightness", "contrast"].map((name) => slider(name));
  const panel = el("div", { class: "view-panel", id: "view-panel", role: "group", "aria-label": "View", hidden: true },
    el("div", { class: "view-row" }, el("span", { text: "Zoom" }), button("−", "Smaller", viewer.smaller), zoomed, button("+", "Larger", viewer.larger)),
    ...sliders.map((item) => item.row),
    el("div", { class: "view-row end" }, button("Plain", "Size, brightness and contrast as they were", plainAgain), button("Close", "Close the view panel", () => set(false))),
  );
  stage.append(panel);

  function slider(name) {
    const [least, most] = RANGES[name];
    const output = el("output");
    const input = /** @type {HTMLInputElement} */ (el("input", { type: "range", min: least, max: most, step: 0.05 }));
    input.addEventListener("input", () => levels.set(name, Number(input.value)));
    const row = el("label", { class: "view-row" }, el("span", { text: name === "brightness" ? "Brightness" : "Contrast" }), input, output);
    const draw = () => { input.value = String(levels[name]); input.setAttribute("aria-valuetext", percent(levels[name])); setText(output, percent(levels[name])); };
    return { row, draw };
  }

  function draw() {
    setText(zoomed, percent(viewer.zoom));
    sliders.forEach((item) => item.draw());
  }

  function set(on) {
    const hadFocus = panel.contains(document.activeElement);
    if (on && panel.hidden) focusBack.keep();
    panel.hidden = !on;
    draw();
    if (!on && hadFocus) focusBack.giveBack();
  }

  viewer.whenZoomed(() => setText(zoomed, percent(viewer.zoom)));
  levels.whenChanged(draw);
  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    set(false);
  });
  return {
    toggle: () => set(panel.hidden),
    close() { const wasOpen = !panel.hidden; set(false); return wasOpen; },
  };
}
