// A person's settings: colours and keys, kept on the server and in this browser.

import { createApi } from "./api.js";
import { byId, plural, setText } from "./dom.js";
import { createKeyStore } from "./key_store.js";
import { CLASS_KEYS } from "./keys.js";
import { createKeysDialog } from "./keys_dialog.js";
import { wireMenus } from "./menus.js";
import { sendSettings, setTheme, theme } from "./own_settings.js";

const ordinal = (place) => `${place}${["th", "st", "nd", "rd"][place % 100 > 10 && place % 100 < 14 ? 0 : place % 10] ?? "th"} class`;
const classes = CLASS_KEYS.map((key, position) => ({ name: ordinal(position + 1), position, key }));
const store = createKeyStore(document.body.dataset.user ?? "", /** @type {any} */ (classes));
const dialog = createKeysDialog(store, /** @type {any} */ (classes));
const choices = /** @type {NodeListOf<HTMLInputElement>} */ (byId("look").querySelectorAll("input"));

function showTheme() {
  for (const choice of choices) choice.checked = choice.value === theme();
}

/** @param {Parameters<typeof sendSettings>[0]} values */
const keep = (values) => tell(sendSettings(values));

/** @param {Promise<boolean>} sending */
async function tell(sending) {
  setText(byId("kept"), "Saving");
  setText(byId("kept"), await sending ? "Saved" : "Kept in this browser; it is sent when the server answers.");
}

function showKeys() {
  const changed = Object.keys(store.own.actions).length + Object.keys(store.own.classes).length;
  setText(byId("keys-words"), changed ? `You have changed ${plural(changed, "key")}.` : "You have the standard keys.");
  byId("standard-keys").hidden = changed === 0;
}

for (const choice of choices) choice.addEventListener("change", () => tell(setTheme(choice.value)));
document.addEventListener("themechange", showTheme);
store.whenChanged(showKeys);
byId("change-keys").addEventListener("click", () => dialog.open());
byId("standard-keys").addEventListener("click", () => {
  const none = { actions: {}, classes: {} };
  store.save(none);
  keep({ keys: none });
  byId("change-keys").focus();
});
addEventListener("online", () => keep({}));
showTheme();
showKeys();
wireMenus(createApi(), { page: "projects" });
