// Asking for numbers again and again: only while the page is looked at, cheaply (ETag), and honest about their age.

import { ApiError, goToSignIn } from "./api.js";

/**
 * @param {ReturnType<import("./api.js").createApi>} api
 * @param {{everyMs: number, paths: Record<string, string>, changed: (data: Record<string, any>) => void, age: (seconds: number|null, why: string) => void}} options
 *   age: null while the numbers are fresh, else how old they are and why
 */
export function createPoll(api, { everyMs, paths, changed, age }) {
  /** @type {Record<string, any>} */ const data = {};
  /** @type {Record<string, string|null>} */ const etags = {};
  let lastGood = performance.now();
  let isAsking = false;
  let isFailing = false;
  let isOver = false;
  let why = "";

  async function ask() {
    if (isAsking) return;
    isAsking = true;
    try {
      const replies = await Promise.all(Object.entries(paths).map(async ([name, path]) => /** @type {const} */ ([name, await api.changed(path, etags[name] ?? null)])));
      for (const [name, reply] of replies) if (reply) [data[name], etags[name]] = [reply.data, reply.etag];
      lastGood = performance.now();
      isFailing = false;
      if (!isOver && replies.some(([, reply]) => reply)) changed(data);
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) return goToSignIn();
      isFailing = true;
      why = error instanceof ApiError && error.status < 500 ? error.message : "The server does not answer.";
    } finally {
      isAsking = false;
      tellAge();
    }
    return undefined;
  }

  const tellAge = () => !isOver && age(isFailing ? (performance.now() - lastGood) / 1000 : null, why);

  const over = new AbortController();
  const timers = [setInterval(() => { if (!document.hidden) ask(); }, everyMs), setInterval(() => { if (isFailing) tellAge(); }, 1000)];
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); }, over);
  addEventListener("online", ask, over);
  return {
    ask,
    /** Ask no more; an answer that is still on its way is not drawn. */
    stop() { isOver = true; timers.forEach(clearInterval); over.abort(); },
  };
}
