// Sends what a reviewer decided, in order, until the server has it: verdicts in batches, everything else one by one.

import { pauseMs, whatFailed } from "./retry.js";

const TOGETHER = ["verdict", "ask"];
const TOGETHER_MAX = 100;

/**
 * One decision. It waits in the outbox of this person and project, so it survives the tab.
 * @typedef {object} Decision
 * @property {string} key
 * @property {string} scope
 * @property {number} order
 * @property {"verdict"|"undo"|"gold"|"ungold"|"put_back"|"exclude"|"ask"} op
 * @property {number} sampleId
 * @property {string|null} className
 * @property {number} version          of the label that the person saw, or that their own decision before it left
 * @property {string|null} shown       the label that the person sees once it is done
 * @property {string|null} [targetKey] undo: the key of the verdict to take back
 * @property {number|null} [annotationId]
 * @property {boolean} [tried]
 */

/**
 * @typedef {object} Events
 * @property {() => void} changed
 * @property {(decision: Decision, answer: any, left: number|null) => void} sent left: the version that it made, null: unknown
 * @property {(decision: Decision, error: {code: string, message: string, details: any}) => void} refused
 */

/** @param {ReturnType<import("./api.js").createApi>} api @param {import("./outbox.js").Outbox} box @param {string} project its path @param {Events} events */
export function createReviewSender(api, box, project, events) {
  /** @type {Decision[]} */ let queue = [];
  /** @type {Set<Decision>} */ let sending = new Set();
  /** @type {"offline"|"server"|"signed_out"|"storage"|null} */ let problem = null;
  let failures = 0;
  let timer = 0;
  let isRunning = false;

  /** Read what an earlier visit left behind. */
  async function load() {
    // It is not known whether those left this browser: their fate is with the server.
    queue = /** @type {any[]} */ (await box.all()).map((decision) => ({ ...decision, tried: true }));
  }

  /** Keep, then send. @param {Decision[]} decisions */
  async function add(decisions) {
    queue.push(...decisions);
    events.changed();
    try {
      await Promise.all(decisions.map((decision) => box.put(/** @type {any} */ (decision))));
    } catch {
      problem = "storage";
      events.changed();
    }
    return run();
  }

  /** Take a decision out again if it certainly never left; false: the server has to be told. @param {string} key */
  function cancel(key) {
    const decision = queue.find((item) => item.key === key);
    if (!decision || sending.has(decision) || decision.tried) return false;
    drop(decision);
    events.changed();
    return true;
  }

  function drop(decision) {
    queue = queue.filter((item) => item !== decision);
    box.remove(decision.key).catch(() => {});
  }

  async function run() {
    if (isRunning || problem === "signed_out") return;
    isRunning = true;
    clearTimeout(timer);
    try {
      while (queue.length && problem !== "signed_out") if (!(await attempt(next()))) break;
    } finally {
      isRunning = false;
    }
  }

  /** What goes together: verdicts in a row, or wishes, of different images. @returns {Decision[]} */
  function next() {
    const { op } = queue[0];
    /** @type {Set<number>} */ const seen = new Set();
    const isOther = (decision, at) => decision.op !== op || at >= TOGETHER_MAX || seen.has(decision.sampleId) || !seen.add(decision.sampleId);
    const end = TOGETHER.includes(op) ? queue.findIndex(isOther) : 1;
    return queue.slice(0, end < 0 ? queue.length : end);
  }

  async function attempt(decisions) {
    sending = new Set(decisions);
    try {
      const results = await deliverAll(decisions);
      failures = 0;
      problem = null;
      decisions.forEach((decision, at) => settle(decision, results[at]));
      return true;
    } catch (error) {
      return failed(decisions, error);
    } finally {
      sending = new Set();
      events.changed();
    }
  }

  const body = (decision) => ({ class_name: decision.className, version: decision.version, client_key: decision.key });

  /** @param {Decision[]} decisions @returns {Promise<any[]>} what became of each */
  async function deliverAll(decisions) {
    if (decisions[0].op === "verdict") {
      const labels = decisions.map((decision) => ({ sample_id: decision.sampleId, ...body(decision) }));
      return (await api.call("POST", `${project}/labels`, { labels })).results;
    }
    if (decisions[0].op === "ask") {
      const asked = await api.call("POST", `${project}/tasks`, { sample_ids: decisions.map((decision) => decision.sampleId) });
      return decisions.map(() => asked);
    }
    return [await deliver(decisions[0])];
  }

  /** @param {Decision} decision */
  async function deliver(decision) {
    const sample = `/samples/${decision.sampleId}`;
    if (decision.op === "gold") return api.call("PUT", `${sample}/gold`, body(decision));
    try {
      if (decision.op === "ungold") await api.call("DELETE", `${sample}/gold`);
      else if (decision.op !== "undo") await api.call("POST", `${sample}/${decision.op === "exclude" ? "exclude" : "put-back"}`);
      // A verdict that never got through: taking it back is forgetting it.
      else if (decision.annotationId) await api.call("DELETE", `/annotations/${decision.annotationId}`);
    } catch (error) {
      // The reply to an earlier try was lost.
      const isDone = decision.tried && ["already_undone", "not_set_aside", "not_found"].includes(/** @type {any} */ (error).code);
      if (!isDone) throw error;
    }
    // Whose label is what now is not in those replies.
    return { fresh: (await api.call("GET", sample)).sample };
  }

  function settle(decision, answer) {
    drop(decision);
    if (answer.error) return refuse(decision, answer.error);
    const left = versionLeft(decision, answer);
    for (const later of queue) {
      if (later.sampleId !== decision.sampleId) continue;
      if (left !== null) later.version = left;
      if (later.targetKey === decision.key) later.annotationId = answer.annotation.id;
      box.put(/** @type {any} */ (later)).catch(() => {});
    }
    return events.sent(decision, answer, left);
  }

  /**
   * The version that this decision left, on which those after it on the same image build; null where the label is not
   * what this person sees, because somebody else was here too. A verdict's first reply is certain: the verdict was stored
   * because nobody came between.
   * @param {Decision} decision @param {any} answer @returns {number|null}
   */
  function versionLeft(decision, answer) {
    const now = answer.sample ?? answer.fresh;
    const isCertain = answer.sample && !decision.tried;
    return now && (isCertain || now.class_name === decision.shown) ? now.label_version ?? 0 : null;
  }

  function refuse(decision, error) {
    // What takes it back has nothing to take back.
    for (const later of queue.filter((item) => item.targetKey === decision.key)) drop(later);
    events.refused(decision, error);
  }

  function failed(decisions, error) {
    const { wait, heard, seconds } = whatFailed(error);
    if (heard) decisions.forEach((decision) => { decision.tried = true; });
    if (!wait) {
      decisions.forEach((decision) => { drop(decision); refuse(decision, error); });
      return true;
    }
    problem = wait;
    if (wait !== "signed_out") timer = setTimeout(run, pauseMs(failures++, seconds));
    return false;
  }

  /** Signed in again, or the connection came back: go on at once. */
  function resume() {
    if (problem === "signed_out") problem = null;
    failures = 0;
    return run();
  }

  return {
    load, add, cancel, run, resume,
    get unsaved() { return queue.length; },
    /** How many decisions about this image the server does not have yet. @param {number} sampleId */
    waiting: (sampleId) => queue.filter((decision) => decision.sampleId === sampleId).length,
    get problem() { return problem; },
  };
}
