// Parts of the label page that come when they are first needed, or in a quiet moment after the first answer, so that
// they are there when the connection is not.

const PARTS = {
  empty: () => import("./why_empty.js"), aside: () => import("./aside_list.js"), classes: () => import("./label_classes.js"), examples: () => import("./label_examples.js"), gestures: () => import("./gestures.js"), goal: () => import("./label_goal.js"), heat: () => import("./label_heat_map.js"), help: () => import("./help.js"), keys: () => import("./keys_dialog.js"),
  grid: () => import("./grid.js"), similar: () => import("./similar.js"), menus: () => import("./menus.js"), signIn: () => import("./sign_in_dialog.js"), suggestion: () => import("./label_suggestion.js"), view: () => import("./view_panel.js"),
};
const STYLES = ["./forms.css", "./label_parts.css"];

/** @type {Promise<any>|null} */ let styles = null;

function loadStyles() {
  styles ??= Promise.all(STYLES.map((name) => new Promise((resolve, reject) => {
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href: new URL(name, import.meta.url).href });
    link.onload = resolve;
    link.onerror = () => { styles = null; link.remove(); reject(new Error("the style of this part does not load")); };
    document.head.append(link);
  })));
  return styles;
}

/** @param {(words: string) => void} say */
export function createParts(say) {
  /** @type {Record<string, any>} */ const made = {};
  let isFetched = false;

  /** The module of that part with its style, or null when it cannot be had right now. @param {keyof typeof PARTS} name */
  async function load(name) {
    try {
      const [module] = await Promise.all([PARTS[name](), loadStyles()]);
      return module;
    } catch {
      return null;
    }
  }

  return {
    load,
    /**
     * Make that part once and use it; says so when it cannot be had. Once made it is used at once, so that what two
     * keys do happens in their order.
     * @param {keyof typeof PARTS} name @param {(module: any) => any} make @param {(part: any) => void} work
     */
    async use(name, make, work) {
      if (made[name]) return work(made[name]);
      const module = await load(name);
      if (!module) return say("This part of the page does not load right now. Labelling goes on.");
      made[name] ??= make(module);
      return work(made[name]);
    },
    /** That part, if it is there. @param {string} name */
    made: (name) => made[name],
    /** Fetch everything when there is nothing else to do. */
    fetchSoon() {
      if (isFetched) return;
      isFetched = true;
      const names = /** @type {(keyof typeof PARTS)[]} */ (Object.keys(PARTS));
      const fetchAll = async () => { isFetched = (await Promise.all(names.map(load))).every(Boolean); };
      if (window.requestIdleCallback) requestIdleCallback(fetchAll);
      else setTimeout(fetchAll, 1000);
    },
  };
}
