// Sends one file in parts, a few at once. What the server has is the truth: after every trouble it is asked which parts
// are missing, so a lost connection, a restarted server or a page opened anew goes on where it stopped.

import { ApiError, UnreachableError, projectPath } from "./api.js";
import { FileChangedError } from "./tar_pack.js";

const LANES = 3;
const PART_TIMEOUT_MS = 300000;
const WAIT_MS = [1000, 2000, 4000, 8000, 15000];
const RATE_MS = 10000;

/**
 * starting: asking what is there; waiting: no answer, tries again by itself; stopped: somebody has to do something first.
 * @typedef {"starting"|"sending"|"waiting"|"paused"|"stopped"|"sent"} Phase
 * @typedef {{phase: Phase, done: number, total: number, perSecond: number, hadBefore: number, words: string}} Sending
 */

/**
 * @param {ReturnType<import("./api.js").createApi>} api @param {string} project
 * @param {import("./tar_pack.js").Sendable} thing @param {number|null} fileCount
 * @param {(state: Sending) => void} changed
 */
export function createSender(api, project, thing, fileCount, changed) {
  const path = `${projectPath(project)}/uploads`;
  /** @type {Sending} */ const state = { phase: "starting", done: 0, total: thing.size, perSecond: 0, hadBefore: 0, words: "" };
  /** @type {{at: number, bytes: number}[]} */ const recent = [];
  let isWanted = true;
  let isFirst = true;
  let wake = () => {};
  let id = "";
  let upload = { location: "" };

  const tell = (phase, words = "") => { Object.assign(state, { phase, words }); changed({ ...state }); };

  /** Until everything is there, or somebody has to do something; the location for an import, or null. @returns {Promise<string|null>} */
  async function run() {
    isWanted = true;
    for (let failures = 0; isWanted;) {
      const before = state.done;
      try {
        const missing = await begin();
        if (!missing.length) { tell("sent"); return upload.location; }
        await sendAll(missing);
      } catch (error) {
        failures = state.done > before ? 0 : failures + 1;
        if (!isWanted) break;
        const words = whyStopped(error);
        if (words) { tell("stopped", words); return null; }
        await pauseBetween(failures);
      }
    }
    tell("paused");
    return null;
  }

  async function begin() {
    if (state.phase !== "waiting") tell("starting");
    const body = { name: thing.name.slice(0, 255), byte_count: thing.size, file_count: fileCount, fingerprint: thing.fingerprint };
    const answer = await api.call("POST", path, body);
    upload = answer.upload;
    id = answer.upload.id;
    const sizeOf = (number) => Math.min(answer.upload.part_bytes, thing.size - number * answer.upload.part_bytes);
    state.done = thing.size - answer.upload.missing.reduce((sum, number) => sum + sizeOf(number), 0);
    if (isFirst) state.hadBefore = state.done;
    isFirst = false;
    return answer.upload.missing.map((number) => ({ number, start: number * answer.upload.part_bytes, end: number * answer.upload.part_bytes + sizeOf(number) }));
  }

  /** @param {{number: number, start: number, end: number}[]} parts */
  async function sendAll(parts) {
    tell("sending");
    recent.length = 0;
    recent.push({ at: performance.now(), bytes: state.done });
    let next = 0;
    let isStopped = false;
    const lane = async () => {
      while (isWanted && !isStopped && next < parts.length) {
        const part = parts[next];
        next += 1;
        try {
          await api.call("PUT", `${path}/${id}/parts/${part.number}`, await thing.bytes(part.start, part.end), { timeoutMs: PART_TIMEOUT_MS });
        } catch (error) {
          isStopped = true;
          throw error;
        }
        state.done += part.end - part.start;
        measure();
        if (isWanted && !isStopped) tell("sending");
      }
    };
    const ends = await Promise.allSettled(Array.from({ length: LANES }, lane));
    const failed = ends.find((end) => end.status === "rejected");
    if (failed) throw /** @type {PromiseRejectedResult} */ (failed).reason;
  }

  function measure() {
    const now = performance.now();
    recent.push({ at: now, bytes: state.done });
    while (recent.length > 2 && recent[0].at < now - RATE_MS) recent.shift();
    const seconds = (now - recent[0].at) / 1000;
    state.perSecond = seconds > 0.5 ? (state.done - recent[0].bytes) / seconds : 0;
  }

  /** Try again after a while, or when the connection comes back. @param {number} failures */
  async function pauseBetween(failures) {
    tell("waiting");
    await new Promise((resolve) => {
      wake = () => resolve(undefined);
      setTimeout(resolve, WAIT_MS[Math.min(failures, WAIT_MS.length) - 1] ?? WAIT_MS[0]);
      addEventListener("online", () => resolve(undefined), { once: true });
    });
  }

  return {
    run,
    /** After the parts that are on their way. */
    pause() { isWanted = false; wake(); },
    /** Stop, and remove what the server has. */
    async cancel() {
      isWanted = false;
      wake();
      if (id) await api.call("DELETE", `${path}/${id}`).catch(() => { /* the server removes it after a day */ });
    },
  };
}

/** Words when somebody has to do something first; "" when trying again will do. @param {unknown} error */
function whyStopped(error) {
  if (error instanceof FileChangedError) return error.message;
  if (error instanceof UnreachableError) return "";
  if (!(error instanceof ApiError)) throw error;
  if (error.status === 401) return "You are signed out. Sign in in another tab, then go on here; what was sent is kept.";
  if (error.code === "artifact_storage") return "The server has no room left. What was sent is kept: make room there, then go on.";
  if (error.code === "no_room" || error.status === 403) return sentence(error.message);
  if (error.status >= 500 || error.status === 429 || error.status === 404) return error.status === 404 && error.message.startsWith("no project") ? sentence(error.message) : "";
  return sentence(error.message);
}

/** @param {string} text */
const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
