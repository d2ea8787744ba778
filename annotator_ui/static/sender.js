// Sends what waits in the outbox, one after the other, until the server has it. Nothing here ever drops an answer.

import { ApiError } from "./api.js";
import { pauseMs, whatFailed } from "./retry.js";

/**
 * @typedef {import("./outbox.js").Entry} Entry
 * @typedef {"offline"|"server"|"signed_out"|"storage"} Problem
 * @typedef {object} Events
 * @property {() => void} changed                            the counts or the problem changed
 * @property {(entry: Entry, answer: any) => void} sent
 * @property {(entry: Entry) => void} refused
 * @property {(sampleId: number) => Promise<any>} leaseOf   the assignment by which this person holds that sample, or null
 */

/** @param {ReturnType<import("./api.js").createApi>} api @param {import("./outbox.js").Outbox} box @param {Events} events */
export function createSender(api, box, events) {
  /** @type {Entry[]} */ let queue = [];
  /** @type {Entry[]} */ let aside = [];
  /** @type {Entry|null} */ let sending = null;
  /** @type {Problem|null} */ let problem = null;
  let failures = 0;
  let timer = 0;
  let isRunning = false;
  let isStopped = false;

  /** Read what an earlier visit left behind. */
  async function load() {
    const entries = await box.all();
    aside = entries.filter((entry) => entry.refused);
    // It is not known whether those left this browser: their fate is with the server.
    queue = entries.filter((entry) => !entry.refused).map((entry) => ({ ...entry, tried: true }));
  }

  /** Keep, then send. @param {Entry} entry */
  async function add(entry) {
    queue.push(entry);
    events.changed();
    try {
      await box.put(entry);
    } catch {
      problem = "storage";
      events.changed();
    }
    return run();
  }

  /** Take an answer out again if it certainly never left; false: the server has to be told. @param {string} key */
  function cancel(key) {
    const at = queue.findIndex((entry) => entry.key === key);
    if (at < 0 || queue[at] === sending || queue[at].tried) return false;
    queue.splice(at, 1);
    box.remove(key).catch(() => {});
    events.changed();
    return true;
  }

  /** Send until the queue is empty or something is in the way. */
  async function run() {
    if (isRunning || isStopped || problem === "signed_out") return;
    isRunning = true;
    clearTimeout(timer);
    try {
      while (queue.length && !isStopped && problem !== "signed_out") {
        const entry = queue[0];
        if (entry.op === "answer" && entry.assignmentId === null) await refuse(entry, "The image is no longer asked of you, so this answer has no place.");
        else if (!(await attempt(entry))) break;
      }
    } finally {
      isRunning = false;
    }
  }

  /** @param {Entry} entry @returns {Promise<boolean>} go on with the next one */
  async function attempt(entry) {
    sending = entry;
    try {
      const answer = await deliver(entry);
      failures = 0;
      problem = null;
      await settle(entry, answer);
      return true;
    } catch (error) {
      return await failed(entry, error);
    } finally {
      sending = null;
    }
  }

  async function deliver(entry) {
    if (entry.op === "undo") {
      // The answer to take back never got through: taking it back is forgetting it.
      if (!entry.annotationId) return dismiss(entry.targetKey ?? "").then(() => ({ assignment: null }));
      try {
        return await api.call("DELETE", `/annotations/${entry.annotationId}`);
      } catch (error) {
        // The reply to an earlier try was lost, and with it the lease that came with it.
        if (error instanceof ApiError && error.code === "already_undone") return { assignment: await events.leaseOf(entry.sampleId) };
        throw error;
      }
    }
    const said = entry.kind === "label" ? { class_name: entry.className } : { [entry.kind ?? "skip"]: true };
    return api.call("POST", `/assignments/${entry.assignmentId}/annotation`, { ...said, client_key: entry.key, lead_time: entry.leadTime });
  }

  async function settle(entry, answer) {
    queue.shift();
    for (const later of queue) {
      if (later.targetKey === entry.key) later.annotationId = answer.annotation.id;
      else if (entry.op === "undo" && later.op === "answer" && later.assignmentId === null && later.sampleId === entry.sampleId) later.assignmentId = answer.assignment?.id ?? null;
      else continue;
      await box.put(later).catch(() => {});
    }
    await box.remove(entry.key).catch(() => {});
    events.sent(entry, answer);
    events.changed();
  }

  async function failed(entry, error) {
    const failure = whatFailed(error);
    if (failure.heard) entry.tried = true;
    if (failure.wait === "signed_out") {
      problem = "signed_out";
      events.changed();
      return false;
    }
    if (failure.wait) return wait(failure.wait, failure.seconds);
    await refuse(entry, error.message, error.code);
    return true;
  }

  /** @param {Problem} why @param {number|null} seconds */
  function wait(why, seconds) {
    problem = why;
    timer = setTimeout(run, pauseMs(failures, seconds));
    failures += 1;
    events.changed();
    return false;
  }

  async function refuse(entry, reason, code = "") {
    queue.shift();
    const kept = { ...entry, refused: reason, code };
    if (entry.op === "answer") {
      aside.push(kept);
      await box.put(kept).catch(() => {});
    } else {
      await box.remove(entry.key).catch(() => {});
    }
    events.refused(kept);
    events.changed();
  }

  /** Try a set-aside answer once more. @param {string} key */
  async function tryAgain(key) {
    const entry = aside.find((item) => item.key === key);
    if (!entry) return;
    aside = aside.filter((item) => item !== entry);
    return add({ ...entry, refused: null, tried: true });
  }

  /** Forget a set-aside answer. @param {string} key */
  async function dismiss(key) {
    aside = aside.filter((item) => item.key !== key);
    await box.remove(key).catch(() => {});
    events.changed();
  }

  /** Signed in again, or the connection came back: go on at once. */
  function resume() {
    if (problem === "signed_out") problem = null;
    failures = 0;
    return run();
  }

  return {
    load, add, cancel, run, resume, stop: () => { isStopped = true; clearTimeout(timer); }, tryAgain, dismiss,
    /** Assignments whose answers wait here. */
    get assignmentIds() { return [...queue, ...aside].filter((entry) => entry.op === "answer" && entry.assignmentId).map((entry) => entry.assignmentId); },
    get unsaved() { return queue.length; },
    get unsavedAnswers() { return queue.filter((entry) => entry.op === "answer").length; },
    get unsavedLabels() { return queue.filter((entry) => entry.op === "answer" && entry.kind === "label").length; },
    get aside() { return aside; },
    get problem() { return problem; },
    /** @param {number} sampleId */
    holds: (sampleId) => queue.some((entry) => entry.op === "answer" && entry.sampleId === sampleId),
  };
}
