// What a failed call means for what waits to be sent: try again later, ask the person to sign in, or give it up.

import { ApiError, UnreachableError } from "./api.js";

const BACKOFF_S = [1, 2, 4, 8, 15];

/**
 * wait: what is in the way, null when the server said no for good; heard: the server may know of the call already.
 * @typedef {{wait: "offline"|"server"|"signed_out"|null, heard: boolean, seconds: number|null}} Verdict
 */

/** Anything but a failed call is thrown again. @param {unknown} error @returns {Verdict} */
export function whatFailed(error) {
  // A browser that knows it is offline never opened a connection; otherwise the server may have heard it.
  if (error instanceof UnreachableError) return { wait: navigator.onLine ? "server" : "offline", heard: navigator.onLine, seconds: null };
  if (!(error instanceof ApiError)) throw error;
  if (error.status === 401) return { wait: "signed_out", heard: true, seconds: null };
  const isPassing = error.status >= 500 || error.status === 429 || error.status === 408 || error.code.includes("csrf");
  return { wait: isPassing ? "server" : null, heard: true, seconds: error.retryAfterS };
}

/** How long to wait after so many failures in a row. @param {number} failures @param {number|null} seconds as the server said */
export function pauseMs(failures, seconds) {
  return (seconds ?? BACKOFF_S[Math.min(failures, BACKOFF_S.length - 1)]) * 1000 * (1 + Math.random() * 0.2);
}

/** Why something was not stored, for the person who waits for it. Anything but a failed call is thrown again. @param {unknown} error */
export function troubleWords(error) {
  const { wait } = whatFailed(error);
  if (wait === "offline") return "You are offline.";
  if (wait === "server") return "The server does not answer. Try again in a moment.";
  if (wait === "signed_out") return "You are signed out.";
  const { message } = /** @type {ApiError} */ (error);
  return `${message[0].toUpperCase()}${message.slice(1)}${/[.?]$/.test(message) ? "" : "."}`;
}
