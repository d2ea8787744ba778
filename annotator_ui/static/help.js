// The help dialog: every key and what it does, and the switch for single keys.

import { byId, el, openDialog } from "./dom.js";
import { ACTIONS, capOf } from "./keys.js";

/**
 * The help dialog, filled from the key map whenever it opens.
 * @param {{enabled: boolean, set: (on: boolean) => void}} singleKeys @param {() => ReturnType<import("./keys.js").createKeyMap>} getMap
 * @param {import("./class_buttons.js").ClassInfo[]} classes @param {() => void} change opens the dialog in which keys are changed
 */
export function createHelp(singleKeys, getMap, classes, change) {
  const dialog = byId("help");
  const row = (caps, words) => [el("dt", {}, ...caps.map((cap) => el("kbd", { text: cap }))), el("dd", { text: words })];
  const box = byId("single-keys");
  box.checked = singleKeys.enabled;
  box.addEventListener("change", () => singleKeys.set(box.checked));

  function open() {
    const keysOf = (action) => [action.id, ...(action.also ?? [])].flatMap((id) => getMap().actionKeys(id).slice(0, action.also ? 1 : 2));
    const first = classes.filter((info) => info.key).slice(0, 2).map((info) => capOf(/** @type {string} */ (info.key)));
    byId("help-keys").replaceChildren(
      ...row(classes.length > 2 ? [...first, "…"] : first, "choose that class, save, next image; the key is printed on each button"),
      ...ACTIONS.filter((action) => action.help).flatMap((action) => row(keysOf(action).length ? keysOf(action).map(capOf) : ["–"], action.help)),
    );
    openDialog(dialog);
  }

  byId("keys-button").addEventListener("click", () => { dialog.close(); change(); });
  return { open };
}
