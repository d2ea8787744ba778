// Brightness and contrast of the image, for as long as this tab lives.

const NAME = "al-levels";
const STEP = 0.1;
/** @type {Record<"brightness"|"contrast", [number, number]>} */
export const RANGES = { brightness: [0.2, 3], contrast: [0.2, 4] };

/** @param {HTMLElement} frame */
export function createLevels(frame) {
  let levels = { brightness: 1, contrast: 1 };
  /** @type {() => void} */ let changed = () => {};
  try { levels = { ...levels, ...JSON.parse(sessionStorage.getItem(NAME) ?? "{}") }; } catch { /* nothing kept */ }

  function draw() {
    const isPlain = levels.brightness === 1 && levels.contrast === 1;
    frame.style.filter = isPlain ? "" : `brightness(${levels.brightness}) contrast(${levels.contrast})`;
    try { sessionStorage.setItem(NAME, JSON.stringify(levels)); } catch { /* lasts as long as the page */ }
    changed();
  }

  draw();
  return {
    get brightness() { return levels.brightness; },
    get contrast() { return levels.contrast; },
    /** @param {"brightness"|"contrast"} name @param {number} value 1 is the image as it is */
    set(name, value) {
      const [least, most] = RANGES[name];
      levels[name] = Math.round(Math.min(most, Math.max(least, value)) * 100) / 100;
      draw();
    },
    /** One step up or down; the new level in words. @param {"brightness"|"contrast"} name @param {1|-1} way */
    step(name, way) {
      this.set(name, levels[name] + way * STEP);
      return `${name === "brightness" ? "Brightness" : "Contrast"} ${Math.round(levels[name] * 100)} %`;
    },
    reset() {
      levels = { brightness: 1, contrast: 1 };
      draw();
    },
    /** @param {() => void} listener */
    whenChanged: (listener) => { changed = listener; },
  };
}
