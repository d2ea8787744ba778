// Sets the colours of the page, and sends what a person has set to the server, so that it is the same in every browser.
// What cannot be sent now is kept here under `al-unsent:NAME` and sent with the next change or the next page.

import { ApiError, createApi } from "./api.js";

const person = document.body.dataset.user ?? "";
const name = `al-unsent:${person}`;
const api = createApi();
/** @type {Promise<boolean>} */ let turn = Promise.resolve(true);

const THEME = "al-theme";
const THEMES = ["system", "light", "dark"];

export function theme() {
  try { return localStorage.getItem(THEME) || "system"; } catch { return document.documentElement.dataset.theme ?? "system"; }
}

/** Show it, keep it, send it; as `sendSettings`. @param {string} next */
export function setTheme(next) {
  try { localStorage.setItem(THEME, next); } catch { /* private mode: the choice lasts as long as the page */ }
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  document.dispatchEvent(new CustomEvent("themechange"));
  return sendSettings({ theme: next });
}

/** The button in the top bar goes round. */
export const nextTheme = () => setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);

/** @returns {{theme?: string, keys?: import("./keys.js").OwnKeys}} */
function unsent() {
  try { return JSON.parse(localStorage.getItem(name) ?? "{}"); } catch { return {}; }
}

/**
 * Send these and whatever could not be sent before, one after the other; true when the server has all of it.
 * @param {{theme?: string, keys?: import("./keys.js").OwnKeys}} values @returns {Promise<boolean>}
 */
export function sendSettings(values) {
  if (!person) return Promise.resolve(false);
  const all = { ...unsent(), ...values };
  try { localStorage.setItem(name, JSON.stringify(all)); } catch { /* private mode: this page sends it, or nobody */ }
  turn = turn.then(() => send(all));
  return turn;
}

/** @param {{theme?: string, keys?: import("./keys.js").OwnKeys}} all */
async function send(all) {
  const sent = JSON.stringify(all);
  try {
    await api.call("PATCH", "/me/settings", all);
  } catch (error) {
    // Refused for good (an old page, or an old server): kept in this browser only, never sent again.
    if (!(error instanceof ApiError) || error.status !== 400) return false;
  }
  // Something may have been set while this was on its way: that one is sent by its own call.
  try { if (localStorage.getItem(name) === sent) localStorage.removeItem(name); } catch { /* private mode */ }
  return true;
}
