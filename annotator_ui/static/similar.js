// The panel with images like the one in view. Their classes are hidden until asked for, because they sway.

import { el, plural, setText } from "./dom.js";
import { createFocusBack } from "./focus_back.js";
import { hasModel } from "./has_model.js";

const THUMB_PX = 128;

/**
 * @param {import("./label.js").Desk} desk
 * @param {HTMLElement} stage
 */
export function createSimilar(desk, stage) {
  const note = el("p", { class: "quiet small", role: "status" });
  const list = el("ul", { class: "similar-list" });
  const classes = el("button", { class: "button small-button", type: "button", text: "Show classes", on: { click: () => fill(true) } });
  const panel = el("section", { class: "similar", id: "similar", "aria-labelledby": "similar-title", hidden: true },
    el("div", { class: "dialog-head" }, el("h2", { id: "similar-title", text: "Similar images" }),
      el("button", { class: "icon-button", type: "button", "aria-label": "Close similar images", on: { click: close } }, el("span", { class: "cap", text: "Esc" }))),
    note, list, el("div", { class: "row" }, classes));
  stage.append(panel);
  const focusBack = createFocusBack(desk.actionButtons);
  /** What was asked last: an answer that comes late is about another image. */ let asked = "";

  // The next image has others, and their classes are hidden again.
  new MutationObserver(() => panel.hidden || stage.dataset.sample === asked || fill(false)).observe(stage, { attributeFilter: ["data-sample", "data-state"] });

  /** @param {boolean} withClasses */
  async function fill(withClasses) {
    const sample = asked = stage.dataset.sample ?? "";
    if (!withClasses) list.replaceChildren();
    classes.hidden = true;
    if (!["image", "past"].includes(stage.dataset.state ?? "")) return setText(note, "No image is in view.");
    setText(note, withClasses ? "" : "Looking for them.");
    try {
      const [{ similar, why_none: why }, isTaught] = await Promise.all([desk.api.call("GET", `/samples/${sample}/similar?classes=${withClasses}`), hasModel(desk)]);
      if (asked !== sample) return undefined;
      list.replaceChildren(...similar.map((found) => row(found, withClasses)));
      classes.hidden = withClasses || !similar.length;
      return setText(note, why ?? `The ${plural(similar.length, "image")} that ${isTaught ? "the model finds nearest" : "look nearest to a network that has not learned from this project yet"}.`);
    } catch {
      return setText(note, "Similar images cannot be fetched right now. Labelling goes on.");
    }
  }

  function row(found, withClasses) {
    const name = withClasses ? found.class_name ?? "no label to show" : "";
    return el("li", {},
      el("img", { src: found.image_url.replace(/size=\d+/, `size=${THUMB_PX}`), alt: `Image ${found.sample_id}`, loading: "lazy", class: Math.max(found.width, found.height) <= 28 ? "pixels" : null }),
      withClasses && el("span", { class: found.class_name ? "name" : "name quiet", text: name, title: name }));
  }

  function close() {
    const wasOpen = !panel.hidden;
    const hadFocus = panel.contains(document.activeElement);
    panel.hidden = true;
    if (hadFocus) focusBack.giveBack();
    asked = "";
    list.replaceChildren();
    return wasOpen;
  }

  return {
    close,
    toggle() {
      if (close()) return;
      focusBack.keep();
      panel.hidden = false;
      fill(false);
    },
  };
}
