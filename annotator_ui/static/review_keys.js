// Keys of the review page. Class keys are those of the label page, as far as nothing here needs them.

import { createKeyStore } from "./key_store.js";
import { capOf, keyName } from "./keys.js";

/**
 * `button`: has one in the side panel. `also` names actions that the help lists in the same line.
 * @typedef {{id: string, label: string, keys: string[], also?: string[], ctrl?: string, button?: boolean, repeats?: boolean, help: string}} ReviewAction
 * @type {ReviewAction[]}
 */
export const REVIEW_ACTIONS = [
  { id: "left", label: "Left", keys: ["arrowleft"], also: ["right", "up", "down"], repeats: true, help: "move; with Shift the images on the way are selected" },
  { id: "right", label: "Right", keys: ["arrowright"], repeats: true, help: "" },
  { id: "up", label: "Up", keys: ["arrowup"], repeats: true, help: "" },
  { id: "down", label: "Down", keys: ["arrowdown"], repeats: true, help: "" },
  { id: "first", label: "First", keys: ["home"], also: ["last"], help: "first and last image" },
  { id: "last", label: "Last", keys: ["end"], help: "" },
  { id: "select", label: "Select", keys: ["x", " "], button: true, help: "select this image, or no longer (also: click its corner, or drag across images)" },
  { id: "all", label: "Select all", keys: [], ctrl: "a", help: "select all images that are shown" },
  { id: "accept", label: "Accept", keys: ["a"], button: true, help: "accept the label, or what most people said" },
  { id: "change", label: "Change", keys: ["c", "/"], button: true, help: "type to find the right class" },
  { id: "undo", label: "Undo", keys: ["u", "backspace"], ctrl: "z", button: true, help: "take your last decisions back" },
  { id: "put_back", label: "Put back", keys: ["f"], button: true, help: "flagged or skipped: ask people again" },
  { id: "exclude", label: "Exclude", keys: ["shift+f"], button: true, help: "flagged or skipped: never ask again" },
  { id: "ask", label: "Ask one more", keys: ["o"], button: true, help: "one more person is asked, whatever the votes say" },
  { id: "gold", label: "Gold", keys: ["g"], button: true, help: "known for sure: from now on it shows how well people do; again: no longer" },
  { id: "example", label: "Example", keys: ["i"], button: true, help: "show this image in the guidelines as an example of its class; again: change its line, or show it no more" },
  { id: "mine", label: "Keep mine", keys: ["k"], help: "somebody was faster: your choice all the same" },
  { id: "one", label: "One by one", keys: ["enter"], help: "images one by one, with votes hidden, and back" },
  { id: "votes", label: "Votes", keys: ["v"], help: "show what people said of this image, one by one" },
  { id: "zoom", label: "Zoom", keys: ["z"], help: "zoom in and out, one by one" },
  { id: "refresh", label: "Refresh", keys: ["r"], help: "ask for this list anew" },
  { id: "help", label: "Help", keys: ["?"], help: "this list" },
  { id: "close", label: "Close", keys: ["escape"], help: "close what is open, select nothing" },
];

/**
 * What a pressed key means here.
 * @typedef {{action: string, isRange: boolean} | {position: number}} Meant
 */

/** @param {string} user @param {import("./class_buttons.js").ClassInfo[]} classes their `key` is what chooses them here */
export function createReviewKeys(user, classes) {
  /** @type {Map<string, string>} */ const actions = new Map(REVIEW_ACTIONS.flatMap(({ id, keys }) => keys.map((key) => /** @type {[string, string]} */ ([key, id]))));
  const store = createKeyStore(user, classes);
  for (const info of classes) if (info.key && actions.has(info.key)) info.key = null;

  /** @param {KeyboardEvent} event @returns {Meant|null} */
  function meaning(event) {
    if (event.altKey) return null;
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      const found = event.shiftKey ? undefined : REVIEW_ACTIONS.find((action) => action.ctrl === key);
      return found ? { action: found.id, isRange: false } : null;
    }
    const name = keyName(event);
    const action = actions.get(name) ?? (key.startsWith("arrow") ? actions.get(key) : undefined);
    if (action) return { action, isRange: event.shiftKey };
    const meant = store.map.meaning(event);
    const info = meant && "position" in meant ? classes.find((item) => item.position === meant.position) : null;
    return info?.key ? { position: info.position } : null;
  }

  return { meaning };
}

/** What is printed for an action. @param {string} id */
export const capsOf = (id) => (REVIEW_ACTIONS.find((action) => action.id === id)?.keys ?? []).map(capOf);
