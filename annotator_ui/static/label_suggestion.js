// What the model thinks of the image in hand: nothing until the person asks, and for some images nothing at all.

import { el } from "./dom.js";
import { hasModel } from "./has_model.js";
import { capOf } from "./keys.js";

const SHOWN = 3;
const NO_MODEL = "There is no model yet: it learns from the first answers, and suggests from the next round on.";
const BLIND = "This image is kept blind: some go without a suggestion, to see how much suggestions sway people.";
const SILENT = "The model has no opinion on this image.";
const AWAY = "The suggestion does not come right now. Labelling goes on.";

const percent = (part) => `${Math.round(part * 100)} %`;

/**
 * The first press shows the suggestion, the second one labels the image so.
 * @param {import("./label.js").Desk} desk
 * @param {HTMLElement} stage
 * @param {(name: string) => void} choose
 */
export function createSuggestion(desk, stage, choose) {
  const words = el("span", {});
  const card = el("p", { class: "suggestion", role: "status", hidden: true }, words);
  stage.append(card);
  /** The image that the card speaks of. */ let sampleId = 0;
  /** @type {{class_name: string, probability: number}[]} */ let likely = [];
  let isAsking = false;

  const isOfThis = () => desk.hand.current?.sampleId === sampleId && !desk.trail.looked;

  function hide() {
    sampleId = 0;
    likely = [];
    desk.recent.likely = [];
    card.hidden = true;
  }

  async function ask() {
    const item = desk.hand.current;
    if (!item?.id || isAsking || desk.trail.looked) return;
    isAsking = true;
    try {
      const told = await desk.api.call("POST", `/assignments/${item.id}/suggestion`);
      if (desk.hand.current !== item || desk.trail.looked) return;
      if (!told.likely.length) {
        desk.view.toast(!(await hasModel(desk)) ? NO_MODEL : told.blind ? BLIND : SILENT);
        return;
      }
      sampleId = item.sampleId;
      likely = told.likely;
      desk.recent.likely = likely.map((one) => one.class_name);
      draw();
    } catch {
      desk.view.toast(AWAY);
    } finally {
      isAsking = false;
    }
  }

  function draw() {
    const others = likely.slice(1, SHOWN).map((one) => `${one.class_name} ${percent(one.probability)}`).join(", ");
    words.replaceChildren("The model thinks ", el("b", { text: likely[0].class_name }), ` ${percent(likely[0].probability)}`, others && ` · ${others}`, " · ", el("kbd", { text: desk.keys.map.actionKeys("accept").map(capOf)[0] ?? "" }), " labels it so");
    card.hidden = false;
  }

  // The card belongs to one image: it goes with it.
  new MutationObserver(() => { if (!card.hidden && !isOfThis()) hide(); }).observe(stage, { attributes: true, attributeFilter: ["data-sample", "data-state"] });

  return {
    press() {
      if (card.hidden || !isOfThis()) return ask();
      const { class_name: name } = likely[0];
      hide();
      return choose(name);
    },
    close() { const wasOpen = !card.hidden; hide(); return wasOpen; },
  };
}
