// One image in the reserved box: as large as makes sense, sharp pixels for tiny ones; zoomed and moved about when asked.

/** Digits and icons: show their pixels; anything larger is smoothed when enlarged. */ const PIXEL_ART_PX = 28;
/** Tiny images are enlarged to about this size, others at most ENLARGE_MAX times. */ const ENLARGE_TO_PX = 960;
const ENLARGE_MAX = 8;
const ZOOMS = [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12];
const ZOOM_BY_KEY = 2.5;
const MIDDLE = { x: 0, y: 0 };

/** A place in the box, in pixels from its middle. @typedef {{x: number, y: number}} Point */

/** @param {HTMLElement} stage @param {HTMLElement} frame */
export function createViewer(stage, frame) {
  /** @type {HTMLImageElement|null} */ let image = null;
  let natural = { width: 1, height: 1 };
  let size = { width: 1, height: 1 };
  let zoom = 1;
  /** Smaller than the box stays so for the next images; larger is for this one. */ let rest = 1;
  /** The part of the image that is in the middle of the box. */ let centre = { x: 0.5, y: 0.5 };
  /** Where the pointer is. @type {Point} */ let pointer = MIDDLE;
  /** null: by size @type {boolean|null} */ let pixels = null;
  /** @type {(zoom: number) => void} */ let zoomed = () => {};

  function measure() {
    const fit = Math.min(frame.clientWidth / natural.width, frame.clientHeight / natural.height);
    const longest = Math.max(natural.width, natural.height);
    const isPixelated = pixels ?? longest <= PIXEL_ART_PX;
    const base = fitted(fit, longest, isPixelated);
    size = { width: natural.width * base * zoom, height: natural.height * base * zoom };
    return isPixelated;
  }

  function draw() {
    if (!image) return;
    image.classList.toggle("pixels", measure());
    centre = { x: within(centre.x, size.width, frame.clientWidth), y: within(centre.y, size.height, frame.clientHeight) };
    image.style.width = `${size.width}px`;
    image.style.height = `${size.height}px`;
    const isCentred = centre.x === 0.5 && centre.y === 0.5;
    image.style.transform = isCentred ? "" : `translate(${(0.5 - centre.x) * size.width}px, ${(0.5 - centre.y) * size.height}px)`;
    stage.classList.toggle("zoomed", zoom > 1);
    zoomed(zoom);
  }

  /** What is under that point stays there. @param {number} value @param {Point} [point] */
  function setZoom(value, point = MIDDLE) {
    const under = { x: centre.x + point.x / size.width, y: centre.y + point.y / size.height };
    zoom = Math.min(ZOOMS[ZOOMS.length - 1], Math.max(ZOOMS[0], value));
    rest = Math.min(1, zoom);
    measure();
    centre = { x: under.x - point.x / size.width, y: under.y - point.y / size.height };
    draw();
  }

  new ResizeObserver(draw).observe(frame);

  return {
    /** Put a decoded image in the box, in this very frame. @param {HTMLImageElement|null} next @param {number} [width] @param {number} [height] */
    show(next, width, height) {
      image = next;
      zoom = rest;
      centre = { x: 0.5, y: 0.5 };
      stage.classList.remove("zoomed");
      if (!next) return frame.replaceChildren();
      natural = { width: next.naturalWidth || width || 1, height: next.naturalHeight || height || 1 };
      draw();
      return frame.replaceChildren(next);
    },
    toggleZoom: () => setZoom(zoom > 1 ? 1 : ZOOM_BY_KEY, pointer),
    larger: () => setZoom(ZOOMS.find((step) => step > zoom) ?? zoom),
    smaller: () => setZoom(ZOOMS.findLast((step) => step < zoom) ?? zoom),
    plain: () => setZoom(1),
    /** @param {number} factor @param {Point} point */
    zoomBy: (factor, point) => setZoom(zoom * factor, point),
    /** @param {number} x @param {number} y pixels that the image moves by */
    moveBy(x, y) {
      centre = { x: centre.x - x / size.width, y: centre.y - y / size.height };
      draw();
    },
    /** @param {{clientX: number, clientY: number}} event */
    pointOf(event) {
      const box = frame.getBoundingClientRect();
      pointer = { x: event.clientX - box.left - box.width / 2, y: event.clientY - box.top - box.height / 2 };
      return pointer;
    },
    togglePixels() {
      pixels = !image?.classList.contains("pixels");
      draw();
      return pixels;
    },
    /** @param {(zoom: number) => void} listener */
    whenZoomed: (listener) => { zoomed = listener; },
    get zoom() { return zoom; },
    get hasImage() { return image !== null; },
  };
}

function fitted(fit, longest, isPixelated) {
  if (fit <= 1) return fit;
  const scale = Math.min(fit, Math.max(ENLARGE_MAX, ENLARGE_TO_PX / longest));
  // Whole device pixels per image pixel, or the squares come out unequal.
  const ratio = window.devicePixelRatio || 1;
  return isPixelated && scale * ratio >= 2 ? Math.floor(scale * ratio) / ratio : scale;
}

// An image that is larger than the box covers it; a smaller one stays in the middle.
function within(part, length, room) {
  if (length <= room) return 0.5;
  const half = room / length / 2;
  return Math.min(1 - half, Math.max(half, part));
}
