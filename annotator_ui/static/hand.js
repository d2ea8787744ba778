// The images in hand: the one to answer now and the next ones, leased, fetched and decoded ahead of time.

import { projectPath } from "./api.js";

export const AHEAD = 5;
/** Ask again when so few are left. */ const FEW = 3;
const HELD_MAX = 40;
/** Those behind are fetched only: a decoded image takes megabytes. */ const DECODED = AHEAD + 1;
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
 * @property {HTMLImageElement} [fetched]    there, not decoded
 * @property {"loading"|"fetched"|"ready"|"broken"} state
 * @property {number} tries
 * @property {string|null} group     look-alikes share it
 * @property {string|null} copies    near-copies share it
 */

/**
 * When to ask for more images and how many to hold then: what this person answers in a minute, so that a minute without
 * a server does not stop anybody; towards the end of a round a quarter of what is left, so that others have some too.
 * @param {number|null} perMinute @param {number|null} left answers that the round still wants
 */
export function wanted(perMinute, left) {
  const share = left === null ? HELD_MAX : Math.max(AHEAD + 1, Math.floor(left / 4));
  const low = Math.max(FEW, Math.min(Math.ceil(perMinute ?? 0), Math.floor(HELD_MAX * 0.8), share - FEW));
  return { low, high: Math.min(HELD_MAX, share, low + Math.max(FEW, Math.ceil(low / 4))) };
}

/**
 * @param {ReturnType<import("./api.js").createApi>} api
 * @param {string} project
 * @param {{changed: () => void, empty: (why: any) => void, failed: (error: unknown) => void, classes: (version: string) => void, unsent: () => number, perMinute: () => number|null, left: () => number|null}} events
 */
export function createHand(api, project, events) {
  /** @type {Item[]} */ let items = [];
  /** Assignments answered here; a reply that was on its way must not bring them back. @type {Set<number>} */ const answered = new Set();
  let isAsking = false;
  let askAgain = false;
  /** How many to hold in whole groups of look-alikes; 0: one by one, as many as are wanted. */ let wish = 0;

  /** How many groups of look-alikes wait, those in hand included, as the last reply said; null: it was not asked. */ let groups = { waiting: /** @type {number|null} */ (null) };

  const want = () => wanted(events.perMinute(), events.left());

  /** Lease until enough is in hand. Also renews every lease, so it is the heartbeat too. */
  async function fill() {
    if (isAsking) { askAgain = true; return; }
    isAsking = true;
    try {
      do {
        askAgain = false;
        // Answers that the server has not got yet still count as held there.
        const count = Math.min(100, Math.max(wish || want().high, items.length) + events.unsent());
        const reply = await api.call("POST", `${projectPath(project)}/assignments`, { count, look_alike: wish > 0 });
        groups = { waiting: reply.groups_waiting };
        merge(reply.assignments, count);
        events.classes(reply.classes_version);
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
    decodeNext();
    events.changed();
  }

  /** @param {Item} item @returns {Item} */
  function fetchImage(item) {
    const image = new Image();
    image.decoding = "async";
    image.alt = `Image ${item.sampleId}, ${item.width} by ${item.height} pixels`;
    image.draggable = false;
    image.onload = () => { Object.assign(item, { fetched: image, state: "fetched" }); decodeNext(); };
    image.onerror = () => failed(item);
    image.src = sizedUrl(item);
    return item;
  }

  /** @param {Item} item */
  function failed(item) {
    const delay = RETRY_IMAGE_MS[item.tries++];
    if (delay && navigator.onLine) setTimeout(() => items.includes(item) && fetchImage(item), delay);
    else item.state = "broken";
    if (items[0] === item) events.changed();
  }

  function decodeNext() {
    for (const item of items.slice(0, DECODED)) {
      const image = item.fetched;
      if (!image) continue;
      item.fetched = undefined;
      image.decode().then(() => {
        item.image = image;
        item.state = "ready";
        if (items[0] === item) events.changed();
      }, () => failed(item));
    }
  }

  /** Fetch broken images again (the connection is back, or the person asked for it). */
  function retryImages() {
    for (const item of items.filter((item) => item.state === "loading" || item.state === "broken")) fetchImage(Object.assign(item, { state: "loading", tries: 0 }));
    events.changed();
  }

  /** Take an image out of the hand: it was answered. @param {Item} item @param {boolean} isLabelled its near-copies come last then */
  function take(item, isLabelled) {
    items = items.filter((other) => other !== item);
    if (isLabelled && item.copies) items = [...items.filter((other) => other.copies !== item.copies), ...items.filter((other) => other.copies === item.copies)];
    if (item.id) answered.add(item.id);
    decodeNext();
    return item;
  }

  /** Put a taken-back image in front. @param {Item} item */
  function putBack(item) {
    if (item.id) answered.delete(item.id);
    items = [item, ...items.filter((other) => other.sampleId !== item.sampleId)];
    if (item.state !== "ready") fetchImage(Object.assign(item, { state: "loading", tries: 0 }));
    events.changed();
  }

  /** Show an image right after the one in view: it is asked anew. @param {Item} item */
  function comeNext(item) {
    if (item.id) answered.delete(item.id);
    items.splice(1, 0, fetchImage(item));
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

  /** The lease by which this person holds a sample; held ones come first. @param {number} sampleId */
  async function leaseOf(sampleId) {
    const count = Math.min(100, items.length + events.unsent() + 1);
    const { assignments } = await api.call("POST", `${projectPath(project)}/assignments`, { count });
    return assignments.find((assignment) => assignment.sample_id === sampleId) ?? null;
  }

  return {
    fill, leaseOf, take, putBack, comeNext, setLease, retryImages,
    /** @param {number} id */
    markAnswered: (id) => { answered.add(id); items = items.filter((item) => item.id !== id); },
    release: () => { const ids = items.map((item) => item.id).filter(Boolean); if (ids.length) api.beacon("/assignments/release", { ids }); },
    clear: () => { items = []; },
    get current() { return items[0]; },
    get groups() { return groups; },
    get length() { return items.length; },
    /** Few enough to ask for more. */
    get isLow() { return items.length <= (wish ? wish / 2 : want().low); },
    get items() { return items; },
    /** @param {number} many */
    set wish(many) { wish = many; },
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
    why: assignment.reason ?? "", image: null, state: "loading", tries: 0, group: named(assignment, "look_alike"), copies: named(assignment, "copy_group"),
  };
}

/** Numbers of groups are those of a round. @param {any} assignment @param {string} kind */
const named = (assignment, kind) => (typeof assignment[kind] === "number" ? `${assignment.round}/${assignment[kind]}` : null);
