// Parts of the label page that come when they are first needed, or in a quiet moment after the first answer, so that
// they are there when the connection is not.

const PARTS = {
  gestures: () => import("./gestures.js"), help: () => import("./help.js"), keys: () => import("./keys_dialog.js"),
  menus: () => import("./menus.js"), view: () => import("./view_panel.js"),
};
const STYLE = "./label_parts.css";

/** @type {Promise<void>|null} */ let style = null;

function loadStyle() {
  style ??= new Promise((resolve, reject) => {
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL(STYLE, import.meta.url).href });
    link.onload = () => resolve();
    link.onerror = () => { style = null; link.remove(); reject(new Error("the style of this part does not load")); };
    document.head.append(link);
  });
  return style;
}

/** @param {(words: string) => void} say */
export function createParts(say) {
  /** @type {Record<string, any>} */ const made = {};
  let isFetched = false;
  return {
    /**
     * Make that part once and use it; says so when it cannot be had right now.
     * @param {keyof typeof PARTS} name @param {(module: any) => any} make @param {(part: any) => void} work
     */
    async use(name, make, work) {
      try {
        const [module] = await Promise.all([PARTS[name](), loadStyle()]);
        made[name] ??= make(module);
      } catch {
        return say("This part of the page does not load right now. Labelling goes on.");
      }
      return work(made[name]);
    },
    /** That part, if it is there. @param {string} name */
    made: (name) => made[name],
    /** Fetch everything when there is nothing else to do. */
    fetchSoon() {
      if (isFetched) return;
      isFetched = true;
      const fetchAll = () => Promise.all([loadStyle(), ...Object.values(PARTS).map((load) => load())]).catch(() => { isFetched = false; });
      if (window.requestIdleCallback) requestIdleCallback(fetchAll);
      else setTimeout(fetchAll, 1000);
    },
  };
}
