// One tab per person and project: two would show the same images and release each other's leases.

const STEAL = "al-steal";
/** A reloading page needs a moment to let go. */ const PATIENCE_MS = 1500;

/**
 * Resolves when this tab is the one. Browsers without the Web Locks API (plain http on a network) go on at once.
 * @param {string} name
 * @param {{elsewhere: () => void, lost: () => void}} events
 */
export function holdTab(name, { elsewhere, lost }) {
  if (!navigator.locks) return Promise.resolve();
  return new Promise((resolve) => {
    let isHeld = false;
    const ask = (options) => navigator.locks.request(name, options, () => {
      isHeld = true;
      resolve(undefined);
      return new Promise(() => {});
    });
    if (takeFlag()) { ask({ steal: true }).catch(lost); return; }
    const late = setTimeout(() => !isHeld && elsewhere(), PATIENCE_MS);
    ask({}).catch(lost).finally(() => clearTimeout(late));
  });
}

/** Load this page again, as the one tab. */
export function takeOver() {
  sessionStorage.setItem(STEAL, "1");
  location.reload();
}

function takeFlag() {
  const flag = sessionStorage.getItem(STEAL);
  sessionStorage.removeItem(STEAL);
  return flag === "1";
}
