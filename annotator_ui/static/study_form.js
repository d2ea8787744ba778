// The form that starts a study: sensible numbers to begin with, what they mean in models, and what is missing.

import { byId, count, plural, setText } from "./dom.js";
import { modelsOf } from "./study_words.js";

/**
 * @param {ReturnType<import("./api.js").createApi>} api
 * @param {{path: string, ask: () => void}} options
 * @returns {{draw: (outlook: any, isBusy: boolean) => void}|null} null on the page of somebody who may not start one
 */
export function createForm(api, { path, ask }) {
  const form = document.getElementById("study-form");
  if (!(form instanceof HTMLFormElement)) return null;
  const fields = /** @type {any} */ (form.elements);
  const submit = byId("start");
  /** @type {any} */ let outlook = null;
  let isBusy = true;
  let isSending = false;

  const strategies = () => ["random", ...[...form.querySelectorAll("input[name=strategies]:checked")].map((box) => /** @type {HTMLInputElement} */ (box).value)];
  const number = (name) => (/^\d+$/.test(fields[name].value.trim()) ? Number(fields[name].value) : NaN);

  function sizes() {
    const [batch, budget] = [number("batch"), number("budget")];
    const initial = Math.min(outlook.sizes.initial, budget);
    return { initial, batch, budget, random_budget: budget };
  }

  // What is wrong with the form, by field; "" where nothing is.
  function problem() {
    if (strategies().length === 1) return ["", "Choose at least one strategy to compare with random."];
    const { initial, batch, budget } = sizes();
    if (!(number("seeds") >= 1 && number("seeds") <= 100)) return ["seeds", "Repetitions: a number from 1 to 100."];
    if (!(batch >= 1 && initial + batch <= outlook.pool)) return ["batch", `Labels at a time: a number from 1 to ${count(outlook.pool - initial)}.`];
    if (!(budget > outlook.sizes.initial && budget <= outlook.pool)) return ["budget", `Labels in all: a number from ${count(outlook.sizes.initial + 1)} to ${count(outlook.pool)}, the labelled images there are to choose among.`];
    return null;
  }

  function look() {
    if (!outlook?.sizes) return;
    const found = problem();
    for (const name of ["seeds", "batch", "budget"]) fields[name].setAttribute("aria-invalid", String(found?.[0] === name));
    setText(byId("estimate"), found ? found[1] : estimateWords());
    submit.disabled = isBusy || isSending || Boolean(found);
  }

  function estimateWords() {
    const models = modelsOf(sizes(), strategies(), number("seeds"));
    const measured = outlook.evaluation ? `Measured on ${plural(outlook.evaluation, "evaluation image")}.` : "Measured on a share kept aside, since no evaluation image has a label.";
    return `${plural(models, "model")} will be trained, the first of each on ${plural(sizes().initial || sizes().batch, "label")}. ${measured}`;
  }

  form.addEventListener("input", () => { setText(byId("form-error"), ""); look(); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (submit.disabled) return;
    isSending = submit.disabled = true;
    setText(byId("form-error"), "");
    const { batch, budget, initial } = sizes();
    try {
      await api.call("POST", `${path}/studies`, { strategies: strategies(), seeds: number("seeds"), batch, budget, initial });
      isBusy = true;
    } catch (error) {
      setText(byId("form-error"), error.code ? error.message : "The server does not answer. No study was started.");
    }
    isSending = false;
    look();
    ask();
  });

  function fill() {
    fields.seeds.value ||= String(outlook.seeds);
    fields.batch.value ||= String(outlook.sizes.batch);
    fields.budget.value ||= String(outlook.sizes.budget);
  }

  return {
    draw(fresh, busy) {
      [outlook, isBusy] = [fresh, busy];
      form.hidden = !outlook.sizes;
      byId("missing").hidden = Boolean(outlook.sizes);
      if (!outlook.sizes) { setText(byId("why-not"), `${outlook.why_not}.`); return; }
      fill();
      setText(byId("budget-hint"), `of ${count(outlook.pool)} there are`);
      setText(byId("start-words"), isBusy ? "One study at a time: the one that is under way has to end first." : "A worker does it between its other jobs, with the project’s settings. People can go on labelling.");
      look();
    },
  };
}
