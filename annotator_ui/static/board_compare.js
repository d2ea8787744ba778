// Two models side by side: what one gains over the other, in all and for each class.

import { classifiers, modelName } from "./board_models.js";
import { byId, el, percent, setText } from "./dom.js";

/** @typedef {{a: number, b: number, difference: number}} Pair */

const DIGITS = 3;
/** @type {[string, string, boolean, boolean][]} name, words, is a share, is better when higher */
const MEASURES = [
  ["accuracy", "Accuracy", true, true],
  ["macro_f1", "Macro F1", true, true],
  ["ece", "Calibration error", true, false],
  ["brier", "Brier score", false, false],
  ["nll", "Log loss", false, false],
];

/** "+2.1", with a minus that is as wide as the plus. @param {number} value @param {number} digits */
function signed(value, digits) {
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return `±${text}`;
  return `${value > 0 ? "+" : "−"}${text}`;
}

/**
 * @param {ReturnType<import("./api.js").createApi>} api
 * @param {string} path of the project
 */
export function createCompare(api, path) {
  const box = byId("compare");
  const [from, to] = [byId("compare-a"), byId("compare-b")];
  /** @type {import("./board_models.js").Model[]} */ let models = [];
  let listed = "";
  let asked = 0;

  async function compare() {
    if (!box.open || !from.value || !to.value) return;
    const mine = ++asked;
    try {
      const found = await api.call("GET", `${path}/models/compare?a=${from.value}&b=${to.value}`);
      if (mine === asked) draw(found);
    } catch (error) {
      if (mine !== asked) return;
      byId("compare-tables").hidden = true;
      setText(byId("compare-words"), error.code ? error.message : "The server does not answer. Choose again in a moment.");
    }
  }

  function draw(found) {
    setText(byId("compare-words"), `${sentence(found)} ${found.words ? `${found.words[0].toUpperCase()}${found.words.slice(1)}.` : ""}`);
    byId("compare-tables").hidden = false;
    const known = MEASURES.filter(([name]) => found.metrics[name]);
    byId("compare-metrics").tBodies[0].replaceChildren(...known.map(([name, words, isShare, isHigherBetter]) => pairRow(words, found.metrics[name], isShare, isHigherBetter)));
    const classes = Object.entries(found.per_class).filter(([, measures]) => measures.f1).sort(([, a], [, b]) => a.f1.difference - b.f1.difference);
    byId("compare-classes").hidden = !classes.length;
    byId("compare-classes").tBodies[0].replaceChildren(...classes.map(([name, { f1 }]) => pairRow(name, f1, true, true)));
  }

  for (const select of [from, to]) select.addEventListener("change", compare);
  box.addEventListener("toggle", compare);

  return {
    /** @param {import("./board_models.js").Model[]} fresh */
    show(fresh) {
      const state = JSON.stringify(fresh.map((model) => [model.id, model.promoted]));
      if (state === listed) return;
      listed = state;
      models = classifiers(fresh);
      box.hidden = models.length < 2;
      const promoted = models.find((model) => model.promoted) ?? models[1];
      const other = models.find((model) => model.id !== promoted?.id);
      fill(from, models, promoted);
      fill(to, models, other);
      compare();
    },
  };
}

/** Keeps what is chosen while it exists. */
function fill(select, models, otherwise) {
  const chosen = models.some((model) => String(model.id) === select.value) ? select.value : String(otherwise?.id ?? "");
  select.replaceChildren(...models.map((model) => el("option", { value: String(model.id), text: `${modelName(model)}${model.promoted ? " (promoted)" : ""}` })));
  select.value = chosen;
}

/** @param {{metrics: Record<string, Pair>}} found */
function sentence({ metrics }) {
  if (!metrics.accuracy) return "";
  const points = metrics.accuracy.difference * 100;
  if (Math.abs(points) < 0.05) return "Both are right equally often.";
  return `The second is right ${Math.abs(points).toFixed(1)} points ${points > 0 ? "more" : "less"} often.`;
}

/** @param {string} words @param {Pair} pair @param {boolean} isShare @param {boolean} isHigherBetter */
function pairRow(words, pair, isShare, isHigherBetter) {
  const shown = (value) => el("td", { class: "number", text: isShare ? percent(value) : value.toFixed(DIGITS) });
  const difference = isShare ? signed(pair.difference * 100, 1) : signed(pair.difference, DIGITS);
  const isNone = difference.startsWith("±");
  const verdict = isNone ? "same" : pair.difference > 0 === isHigherBetter ? "better" : "worse";
  return el("tr", {}, el("th", { scope: "row", title: words, text: words }), shown(pair.a), shown(pair.b),
    el("td", { class: `number ${verdict}` }, difference, el("span", { class: "sr", text: `, ${verdict}` })));
}
