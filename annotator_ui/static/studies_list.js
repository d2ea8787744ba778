// The entries of studies on a page: drawn again when something changed, with the focus where it was, and their buttons.

import { byId, seconds, setText } from "./dom.js";
import { studyEntry } from "./study_words.js";

/**
 * @param {ReturnType<import("./api.js").createApi>} api
 * @param {{links: boolean, ask: () => void}} options links: each entry leads to its own page
 */
export function createList(api, { links, ask }) {
  const list = byId("studies");
  const mayEngineer = ["admin", "engineer"].includes(document.body.dataset.role ?? "");
  let shown = "";
  /** The button pressed last, while it is not clear where the focus belongs: one that cannot be pressed any more loses it. */ let pressed = "";

  function complain(words) {
    byId("studies-error").hidden = !words;
    setText(byId("studies-error"), words);
  }

  async function act(what, id, button) {
    pressed = button.dataset.key;
    button.setAttribute("disabled", "");
    try {
      await api.call("POST", `/jobs/${id}/${what}`);
      complain("");
    } catch (error) {
      complain(error.code ? error.message : "The server does not answer. Nothing was changed.");
      button.removeAttribute("disabled");
    }
    ask();
  }

  return {
    /** @param {any[]} studies */
    draw(studies) {
      const fresh = JSON.stringify(studies);
      if (fresh === shown) return;
      shown = fresh;
      const active = /** @type {HTMLElement|null} */ (document.activeElement);
      const focused = (active === document.body ? pressed : list.contains(active) && active?.dataset.key) || "";
      pressed = "";
      list.setAttribute("aria-busy", "false");
      list.replaceChildren(...studies.map((study) => studyEntry(study, { href: links ? `${location.pathname.replace(/\/$/, "")}/${study.id}` : null, mayEngineer, act })));
      if (!focused) return;
      // The button that was pressed may be gone: then the entry's other button, or its link, has the focus.
      const id = focused.split("-").pop();
      const places = [focused, `retry-${id}`, `cancel-${id}`, `study-${id}`].map((key) => list.querySelector(`[data-key="${key}"]`));
      /** @type {HTMLElement|null|undefined} */ (places.find(Boolean))?.focus();
    },
    /** How old the numbers are: null while they are fresh. @param {number|null} age @param {string} why */
    age(age, why) {
      byId("stale").hidden = age === null;
      if (age !== null) setText(byId("stale"), `${why} What you see is ${seconds(age)} old; the page keeps trying.`);
    },
  };
}
