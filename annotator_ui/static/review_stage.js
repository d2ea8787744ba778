// One image after the other, as large as it gets. What people said stays hidden until it is asked for.

import { byId, setText } from "./dom.js";
import { wireGestures } from "./gestures.js";
import { createViewer } from "./viewer.js";

const AHEAD = 2;

export function createReviewStage() {
  const stage = byId("stage");
  const viewer = createViewer(stage, byId("frame"));
  /** @type {Map<number, HTMLImageElement>} */ const images = new Map();
  let shown = 0;
  wireGestures(stage, viewer);

  /** @param {import("./review_rows.js").Row} row */
  function imageOf(row) {
    const known = images.get(row.id);
    if (known) return known;
    const image = Object.assign(new Image(), { alt: `Image ${row.id}, ${row.width} by ${row.height} pixels`, draggable: false, src: row.url });
    images.set(row.id, image);
    if (images.size > 40) images.delete(/** @type {number} */ (images.keys().next().value));
    return image;
  }

  return {
    viewer,
    /** @param {import("./review_rows.js").Row[]} rows @param {number} at */
    async show(rows, at) {
      const row = rows[at];
      shown = row?.id ?? 0;
      setText(byId("stage-words"), row ? `${at + 1} of ${rows.length}` : "");
      if (!row) return viewer.show(null);
      const image = imageOf(row);
      rows.slice(at + 1, at + 1 + AHEAD).forEach(imageOf);
      try {
        await image.decode();
      } catch {
        images.delete(row.id);
        if (shown === row.id) setText(byId("stage-words"), "This image does not load right now.");
      }
      if (shown === row.id) viewer.show(image, row.width, row.height);
      return undefined;
    },
  };
}
