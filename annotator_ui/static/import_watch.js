// Follows an import job to its end, also while the server does not answer.

import { ApiError } from "./api.js";
import { count, plural } from "./dom.js";

const POLL_MS = 500;

/**
 * @param {ReturnType<import("./api.js").createApi>} api @param {number} id
 * @param {(job: any|null) => void} changed null: no answer right now
 * @returns {Promise<any>} the job when it is over
 */
export async function followJob(api, id, changed) {
  for (;;) {
    try {
      const { job } = await api.call("GET", `/jobs/${id}`);
      changed(job);
      if (["done", "failed", "cancelled"].includes(job.state)) return job;
    } catch (error) {
      if (error instanceof ApiError && error.status < 500 && error.status !== 429) throw error;
      changed(null);
    }
    await new Promise((resolve) => { setTimeout(resolve, POLL_MS); });
  }
}

/** What a running import says. @param {any} job */
export function runningWords(job) {
  const { done, total, text } = job.progress;
  if (job.state === "queued") return job.error ? `Tries again soon: ${job.error}` : "Waiting for a worker";
  if (!total) return text || "Looking at what was sent";
  return `${count(done)} of ${count(total)} images read`;
}

/** What an import did. @param {any} result */
export function resultWords(result) {
  const also = [
    result.labels_added ? `${plural(result.labels_added, "label")} taken over` : "",
    result.evaluation ? `${count(result.evaluation)} kept aside to measure the model` : "",
    result.already_there ? `${count(result.already_there)} were there already` : "",
    result.exact_duplicates ? plural(result.exact_duplicates, "exact copy", "exact copies") + " left out" : "",
  ].filter(Boolean);
  return `${plural(result.added ?? 0, "image")} imported${also.length ? `: ${also.join(", ")}` : ""}.`;
}
