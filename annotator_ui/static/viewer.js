// One image in the reserved box: as large as makes sense, sharp pixels for tiny ones, zoom under the pointer.

const PIXEL_ART_PX = 28; // digits and icons: show their pixels; anything larger is smoothed when enlarged
const ENLARGE_TO_PX = 960; // tiny images are enlarged to about this size, others at most ENLARGE_MAX times
const ENLARGE_MAX = 8;
const ZOOMS = [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12];
const ZOOM_BY_KEY = 2.5;

/** @param {HTMLElement} stage @param {HTMLElement} frame */
export function createViewer(stage, frame) {
  /** @type {HTMLImageElement|null} */ let image = null;
  let natural = { width: 1, height: 1 };
  let zoom = 1;
  /** Smaller than the box stays so for the next images; larger is for this one. */ let rest = 1;
  let at = { x: 0.5, y: 0.5 };
  /** null: by size @type {boolean|null} */ let pixels = null;

  function draw() {
    if (!image) return;
    const box = { width: frame.clientWidth, height: frame.clientHeight };
    const fit = Math.min(box.width / natural.width, box.height / natural.height);
    const longest = Math.max(natural.width, natural.height);
    const isPixelated = pixels ?? longest <= PIXEL_ART_PX;
    const base = fitted(fit, longest, isPixelated);
    const width = natural.width * base * zoom;
    const height = natural.height * base * zoom;
    image.classList.toggle("pixels", isPixelated);
    image.style.width = `${width}px`;
    image.style.height = `${height}px`;
    const shift = (size, room, part) => (size > room ? (0.5 - part) * (size - room) : 0);
    image.style.transform = zoom <= 1 ? "" : `translate(${shift(width, box.width, at.x)}px, ${shift(height, box.height, at.y)}px)`;
    stage.classList.toggle("zoomed", zoom > 1);
  }

  function setZoom(value) {
    zoom = value;
    rest = Math.min(1, value);
    draw();
  }

  stage.addEventListener("pointermove", (event) => {
    const box = frame.getBoundingClientRect();
    at = { x: clamp((event.clientX - box.left) / box.width), y: clamp((event.clientY - box.top) / box.height) };
    if (zoom > 1) draw();
  });
  new ResizeObserver(draw).observe(frame);

  return {
    /** Put a decoded image in the box, in this very frame. @param {HTMLImageElement|null} next @param {number} [width] @param {number} [height] */
    show(next, width, height) {
      image = next;
      zoom = rest;
      stage.classList.remove("zoomed");
      if (!next) return frame.replaceChildren();
      natural = { width: next.naturalWidth || width || 1, height: next.naturalHeight || height || 1 };
      draw();
      return frame.replaceChildren(next);
    },
    toggleZoom: () => setZoom(zoom > 1 ? 1 : ZOOM_BY_KEY),
    larger: () => setZoom(ZOOMS.find((step) => step > zoom) ?? zoom),
    smaller: () => setZoom(ZOOMS.findLast((step) => step < zoom) ?? zoom),
    togglePixels() {
      pixels = !image?.classList.contains("pixels");
      draw();
      return pixels;
    },
  };
}

function fitted(fit, longest, isPixelated) {
  if (fit <= 1) return fit;
  const scale = Math.min(fit, Math.max(ENLARGE_MAX, ENLARGE_TO_PX / longest));
  // Whole device pixels per image pixel, or the squares come out unequal.
  const ratio = window.devicePixelRatio || 1;
  return isPixelated && scale * ratio >= 2 ? Math.floor(scale * ratio) / ratio : scale;
}

const clamp = (value) => Math.min(1, Math.max(0, value));
