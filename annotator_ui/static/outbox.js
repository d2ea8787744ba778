// Where answers wait until the server has them: IndexedDB, or localStorage where that is missing. Survives the tab.

/**
 * One thing to tell the server, in order.
 * @typedef {object} Entry
 * @property {string} key       made here, once per answer; the server stores an answer only once per key
 * @property {string} scope     project and person
 * @property {number} order
 * @property {"answer"|"undo"} op
 * @property {number} sampleId
 * @property {number|null} assignmentId   answer: null while the lease of a taken-back image is on its way
 * @property {"label"|"skip"|"flag"} [kind]
 * @property {string|null} [className]
 * @property {number} [leadTime]          active seconds
 * @property {string} [imageUrl]
 * @property {string|null} [targetKey]    undo: the key of the answer to take back
 * @property {number|null} [annotationId] undo: its id, once known
 * @property {boolean} [tried]            a request left this browser, so the server may know it already
 * @property {string|null} [refused]      why the server did not accept it; set aside
 * @property {string} [code]              the same as a word for programs
 */

/** @typedef {{all: () => Promise<Entry[]>, put: (entry: Entry) => Promise<void>, remove: (key: string) => Promise<void>}} Outbox */

const DATABASE = "al-outbox";
const TABLE = "entries";

/** @param {string} scope @returns {Promise<Outbox>} */
export async function openOutbox(scope) {
  const inStorage = storageOutbox(scope);
  try {
    const database = await openDatabase();
    const box = databaseOutbox(database, scope);
    // What an earlier visit had to keep in localStorage moves over.
    for (const entry of await inStorage.all()) {
      await box.put(entry);
      await inStorage.remove(entry.key);
    }
    return box;
  } catch {
    return inStorage;
  }
}

function openDatabase() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: "key" }).createIndex("scope", "scope");
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}

/** @param {IDBDatabase} database @param {string} scope @returns {Outbox} */
function databaseOutbox(database, scope) {
  const run = (mode, work) => new Promise((resolve, reject) => {
    const transaction = database.transaction(TABLE, mode);
    const request = work(transaction.objectStore(TABLE));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
    // Without waiting for the event loop, so that a tab closed right after a key press has written it.
    if (mode === "readwrite") transaction.commit?.();
  });
  return {
    all: async () => inOrder(await run("readonly", (table) => table.index("scope").getAll(scope))),
    put: (entry) => run("readwrite", (table) => table.put(entry)),
    remove: (key) => run("readwrite", (table) => table.delete(key)),
  };
}

/** @param {string} scope @returns {Outbox} */
function storageOutbox(scope) {
  const prefix = `al-outbox:${scope}:`;
  const names = () => {
    try { return Object.keys(localStorage).filter((name) => name.startsWith(prefix)); } catch { return []; }
  };
  return {
    all: async () => inOrder(names().map((name) => JSON.parse(localStorage.getItem(name) ?? "null")).filter(Boolean)),
    put: async (entry) => localStorage.setItem(prefix + entry.key, JSON.stringify(entry)),
    remove: async (key) => { try { localStorage.removeItem(prefix + key); } catch { /* nothing was stored there */ } },
  };
}

const inOrder = (entries) => entries.sort((a, b) => a.order - b.order);

/** A random key. randomUUID needs https or localhost; getRandomValues does not. */
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

let last = 0;
/** Growing numbers, also across reloads. */
export function nextOrder() {
  last = Math.max(last + 1, Date.now() * 1000);
  return last;
}
