// The keys that a person has changed: the same in every project and browser, classes by their position. What the server
// has comes with the page; the copy in this browser counts while it holds changes that are not sent yet.

import { createKeyMap } from "./keys.js";

const NOTHING = { actions: {}, classes: {} };

/** @param {string} name @returns {import("./keys.js").OwnKeys} */
function read(name) {
  try {
    const { ownKeys, user } = document.body.dataset;
    if (ownKeys && !localStorage[`al-unsent:${user}`]) localStorage[name] = ownKeys;
    return { ...NOTHING, ...JSON.parse(localStorage.getItem(name) ?? "{}") };
  } catch { return NOTHING; }
}

/**
 * @param {string} user
 * @param {import("./class_buttons.js").ClassInfo[]} classes their `key` follows the map
 */
export function createKeyStore(user, classes) {
  const name = `al-keys:${user}`;
  let own = read(name);
  let map = createKeyMap(classes, own);
  /** @type {(() => void)[]} */ const listeners = [];

  function use(next) {
    own = next;
    map = createKeyMap(classes, own);
    for (const info of classes) info.key = map.classKey(info.position);
    listeners.forEach((listener) => listener());
  }

  use(own);
  return {
    get map() { return map; },
    get own() { return own; },
    /** @param {import("./keys.js").OwnKeys} next */
    save(next) {
      try { localStorage.setItem(name, JSON.stringify(next)); } catch { /* lasts as long as the page */ }
      use(next);
    },
    /** @param {() => void} listener */
    whenChanged: (listener) => { listeners.push(listener); },
  };
}
