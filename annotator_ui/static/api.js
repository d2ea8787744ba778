// Talking to /api/v1: JSON in and out, the CSRF token, a time limit, and two kinds of failure told apart.

/** The server answered, with an error. */
export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {number|null} retryAfterS @param {Record<string, any>} [details] */
  constructor(status, code, message, retryAfterS, details = {}) {
    super(message);
    this.details = details;
    this.status = status;
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

/** No answer: no connection, the server is gone, or the time limit passed. */
export class UnreachableError extends Error {}

const TIMEOUT_MS = 20000;

/** @typedef {{name: string, role: string, id: number|string}} Person */

/**
 * One conversation with the API; holds the CSRF token.
 * @param {string} [person] for whom this page was made: when somebody else signs in in another tab, the page loads anew
 * @param {string} [base]
 */
export function createApi(person = document.body.dataset.user, base = "/api/v1") {
  let csrf = "";

  async function send(method, path, body, headers, timeoutMs) {
    const given = { Accept: "application/json", ...headers };
    const isBytes = body instanceof ArrayBuffer;
    if (body !== undefined) given["Content-Type"] = isBytes ? "application/octet-stream" : "application/json";
    if (method !== "GET" && csrf) given["X-CSRF-Token"] = csrf;
    try {
      return await fetch(base + path, {
        method, headers: given, credentials: "same-origin", signal: AbortSignal.timeout(timeoutMs),
        body: body === undefined || isBytes ? body : JSON.stringify(body),
      });
    } catch (error) {
      throw new UnreachableError(String(error));
    }
  }

  async function read(response) {
    const text = await response.text().catch((error) => { throw new UnreachableError(String(error)); });
    let data = null;
    try { data = text ? JSON.parse(text) : null; } catch { /* a proxy's HTML page: handled by the status below */ }
    if (response.ok) return data;
    const said = data?.error ?? {};
    const after = Number(response.headers.get("Retry-After"));
    throw new ApiError(response.status, said.code ?? "", said.message ?? `the server answered ${response.status}`, after > 0 ? after : null, said.details);
  }

  /** @param {string} method @param {string} path @param {any} [body] @param {{headers?: Record<string,string>, timeoutMs?: number}} [more] */
  async function call(method, path, body, { headers = {}, timeoutMs = TIMEOUT_MS } = {}) {
    if (method !== "GET" && !csrf && !isSignIn(method, path)) await me();
    try {
      return await read(await send(method, path, body, headers, timeoutMs));
    } catch (error) {
      // The session was renewed in another tab: take the new token and try once more.
      if (!(error instanceof ApiError) || !error.code.includes("csrf") || isSignIn(method, path)) throw error;
      await me();
      return read(await send(method, path, body, headers, timeoutMs));
    }
  }

  /** Who is signed in; also brings the CSRF token. @returns {Promise<Person>} */
  async function me() {
    return keep(await read(await send("GET", "/me", undefined, {}, TIMEOUT_MS)));
  }

  /** @param {string} name @param {string} password @returns {Promise<Person>} */
  async function signIn(name, password) {
    return keep(await call("POST", "/session", { name, password }));
  }

  function keep(data) {
    if (person && data.user.name !== person) {
      location.reload();
      throw new UnreachableError("somebody else is signed in now");
    }
    csrf = data.csrf_token;
    return data.user;
  }

  /** Like GET, but null when nothing changed since that ETag. @param {string} path @param {string|null} etag */
  async function changed(path, etag) {
    const response = await send("GET", path, undefined, etag ? { "If-None-Match": etag } : {}, TIMEOUT_MS);
    if (response.status === 304) return null;
    return { data: await read(response), etag: response.headers.get("ETag") };
  }

  /** Fire and forget while the page goes away. @param {string} path @param {object} body */
  function beacon(path, body) {
    const blob = new Blob([JSON.stringify({ ...body, csrf_token: csrf })], { type: "application/json" });
    navigator.sendBeacon(base + path, blob);
  }

  return { call, me, signIn, changed, beacon };
}

/** @param {string} project */
export const projectPath = (project) => `/projects/${encodeURIComponent(project)}`;

/** Whole pages: go to the sign-in page and come back here afterwards. */
export function goToSignIn() {
  location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

/** What nobody has to be signed in for. */
const isSignIn = (method, path) => method === "POST" && (path === "/session" || path.startsWith("/invitations/"));
