// The images in hand: the one to answer now and the next ones, leased, fetched and decoded ahead of time.

import { projectPath } from "./api.js";

export const AHEAD = 5;
const RETRY_IMAGE_MS = [1000, 3000, 8000];

/**
 * @typedef {object} Item
 * @property {number|null} id        assignment; null while the lease of a taken-back image is on its way
 * @property {number} sampleId
 * @property {string} url
 * @property {number} width
 * @property {number} height
 * @property {string} why
 * @property {HTMLImageElement|null} image   decoded and ready to be shown
 * @property {"loading"|"ready"|"broken"} state
 * @property {number} tries
 */

/**
 * @param {ReturnType<import("./api.js").createApi>} api
 * @param {string} project
 * @param {{changed: () => void, empty: (why: any) => void, failed: (error: unknown) => void, unsent: () => number}} events
 */
export function createHand(api, project, events) {
  /** @type {Item[]} */ let items = [];
  /** Assignments answered here; a reply that was on its way must not bring them back. @type {Set<number>} */ const answered = new Set();
  let isAsking = false;
  let askAgain = false;

  /** Lease until the current image and five more are in hand. Also renews every lease, so it is the heartbeat too. */
  async function fill() {
    if (isAsking) { askAgain = true; return; }
    isAsking = true;
    try {
      do {
        askAgain = false;
        // Answers that the server has not got yet still count as held there.
        const count = Math.min(100, AHEAD + 1 + events.unsent());
        const reply = await api.call("POST", `${projectPath(project)}/assignments`, { count });
        merge(reply.assignments, count);
        if (!items.length) events.empty(reply.why_empty);
      } while (askAgain);
    } catch (error) {
      events.failed(error);
    } finally {
      isAsking = false;
    }
  }

  function merge(assignments, count) {
    const fresh = assignments.filter((assignment) => !answered.has(assignment.id));
    const bySample = new Map(fresh.map((assignment) => [assignment.sample_id, assignment]));
    // A full reply may have been cut off; otherwise what it lacks is no longer ours. The image in view stays: a late answer counts.
    if (assignments.length < count) items = items.filter((item, at) => at === 0 || item.id === null || bySample.has(item.sampleId));
    for (const item of items) {
      const assignment = bySample.get(item.sampleId);
      if (assignment) item.id = assignment.id;
      bySample.delete(item.sampleId);
    }
    for (const assignment of bySample.values()) items.push(fetchImage(itemOf(assignment)));
    events.changed();
  }

  /** @param {Item} item @returns {Item} */
  function fetchImage(item) {
    const image = new Image();
    image.decoding = "async";
    image.alt = `Image ${item.sampleId}, ${item.width} by ${item.height} pixels`;
    image.draggable = false;
    image.src = sizedUrl(item);
    image.decode().then(
      () => { item.image = image; item.state = "ready"; if (items[0] === item) events.changed(); },
      () => {
        const delay = RETRY_IMAGE_MS[item.tries++];
        if (delay && navigator.onLine) setTimeout(() => items.includes(item) && fetchImage(item), delay);
        else item.state = "broken";
        if (items[0] === item) events.changed();
      },
    );
    return item;
  }

  /** Fetch broken images again (the connection is back, or the person asked for it). */
  function retryImages() {
    for (const item of items.filter((item) => item.state !== "ready")) fetchImage(Object.assign(item, { state: "loading", tries: 0 }));
    events.changed();
  }

  /** Take the current image out of the hand: it was answered. @returns {Item|undefined} */
  function take() {
    const item = items.shift();
    if (item?.id) answered.add(item.id);
    return item;
  }

  /** Put a taken-back image in front. @param {Item} item */
  function putBack(item) {
    if (item.id) answered.delete(item.id);
    items = [item, ...items.filter((other) => other.sampleId !== item.sampleId)];
    if (!item.image) fetchImage(item);
    events.changed();
  }

  /** The server gave (or refused) a new lease on a taken-back image. @param {number} sampleId @param {any} assignment */
  function setLease(sampleId, assignment) {
    const item = items.find((other) => other.sampleId === sampleId);
    if (!item || item.id) return Boolean(item);
    if (assignment) Object.assign(item, { id: assignment.id, why: assignment.reason ?? item.why });
    else items = items.filter((other) => other !== item);
    events.changed();
    return Boolean(assignment);
  }

  return {
    fill, take, putBack, setLease, retryImages,
    /** @param {number} id */
    markAnswered: (id) => { answered.add(id); items = items.filter((item) => item.id !== id); },
    release: () => { const ids = items.map((item) => item.id).filter(Boolean); if (ids.length) api.beacon("/assignments/release", { ids }); },
    clear: () => { items = []; },
    get current() { return items[0]; },
    get length() { return items.length; },
    get readyAhead() { return items.slice(1).filter((item) => item.state === "ready").length; },
  };
}

// The address names a copy of 1024 pixels; a large screen shows more of a large image.
function sizedUrl(item) {
  const screenPx = Math.max(innerWidth, innerHeight) * devicePixelRatio;
  return Math.max(item.width, item.height) > 1024 && screenPx > 1500 ? item.url.replace("size=1024", "size=2048") : item.url;
}

/** @param {any} assignment @returns {Item} */
export function itemOf(assignment) {
  return {
    id: assignment.id, sampleId: assignment.sample_id, url: assignment.image_url, width: assignment.width, height: assignment.height,
    why: assignment.reason ?? "", image: null, state: "loading", tries: 0,
  };
}
