// The project's models: which one it uses, how good each is; engineers promote another one or go back.

import { byId, count, el, percent, setText } from "./dom.js";

/** @typedef {{id: number, kind: "round"|"imported"|"backbone", name: string, round: number|null, network: string, byte_count: number|null, metrics: any, promoted: boolean, created_at: string}} Model */
/** @typedef {{model: number, action: "promote"|"rollback"|"auto", user: string|null, reason: string, at: string}} Promotion */

const SHOWN = 6;
const KIND_WORDS = { round: "trained", imported: "imported", backbone: "backbone" };
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

/** A model's name as the board says it. @param {Model} model */
export const modelName = (model) => (model.kind === "round" && model.round !== null ? `Round ${model.round}` : model.name);

/** Those that can answer: a backbone has no head. @param {Model[]} models */
export const classifiers = (models) => models.filter((model) => model.kind !== "backbone");

/** Accuracy with half the width of its interval, or nothing where it was not measured. @param {any} metrics @returns {[string, string]} */
export function accuracyWords(metrics) {
  if (typeof metrics?.accuracy !== "number") return ["–", ""];
  const [low, high] = metrics.accuracy_ci95 ?? [null, null];
  const half = low === null ? "" : ` ± ${(((high - low) / 2) * 100).toFixed(1)}`;
  return [percent(metrics.accuracy), `${half}${metrics.evaluation_samples ? `, n\u00a0${count(metrics.evaluation_samples)}` : ""}`];
}

/** 1234567 -> "1.2 MB" @param {number|null} bytes */
export function sizeWords(bytes) {
  if (bytes === null) return "";
  const [unit, size] = bytes >= 1e9 ? ["GB", bytes / 1e9] : bytes >= 1e6 ? ["MB", bytes / 1e6] : ["kB", bytes / 1e3];
  return `${size < 10 ? size.toFixed(1) : Math.round(size)} ${unit}`;
}

/** Which model is the project's, since when and why. @param {Model[]} models @param {Promotion[]} promotions newest first */
export function promotedWords(models, promotions) {
  const [newest] = promotions;
  if (!newest) return models.length ? "No model is promoted yet." : "";
  const model = models.find((one) => one.id === newest.model);
  const who = newest.user ? `${newest.user} ${newest.action === "rollback" ? "went back to it" : "promoted it"}` : newest.action === "auto" ? "promoted by its round" : "";
  const why = [who, newest.reason].filter(Boolean).join(": ");
  return `${model ? modelName(model) : `Model ${newest.model}`} is the project's model since ${moment.format(new Date(newest.at))}${why ? ` (${why})` : ""}.`;
}

/**
 * @param {ReturnType<import("./api.js").createApi>} api
 * @param {{path: string, mayPromote: boolean, ask: () => void}} options
 */
export function createModels(api, { path, mayPromote, ask }) {
  const table = byId("models");
  const rollBack = document.getElementById("roll-back");
  /** @type {Model[]|null} */ let models = null;
  /** @type {Promotion[]} */ let promotions = [];
  let showsAll = false;
  let isActing = false;
  let drawn = "";

  /** @param {HTMLElement} by @param {() => Promise<any>} what @param {string} done */
  async function act(by, what, done) {
    isActing = true;
    draw();
    try {
      const { model } = await what();
      say(`${modelName(model)} is the project's model now. ${done}`);
    } catch (error) {
      say("", error.code ? error.message : "The server does not answer. The project's model stays as it is.");
    }
    isActing = false;
    draw();
    // Buttons that were off for that moment have lost the focus.
    if (document.activeElement === document.body) focusOn(by.dataset.model);
    ask();
  }

  /** @param {string|undefined} id of a model, else the way back */
  function focusOn(id) {
    const button = id ? /** @type {HTMLElement|null} */ (table.querySelector(`[data-model="${id}"]`)) : null;
    (button ?? rollBack)?.focus();
  }

  function say(words, error = "") {
    setText(byId("models-words"), words);
    byId("models-error").hidden = !error;
    setText(byId("models-error"), error);
  }

  const promote = (by, model) => act(by, () => api.call("POST", `/models/${model.id}/promote`, {}), "Roll back takes you to the one before.");
  rollBack?.addEventListener("click", () => act(rollBack, () => api.call("POST", `${path}/models/rollback`, {}), ""));

  function draw() {
    if (!models) return;
    const state = JSON.stringify([models, promotions, showsAll, isActing]);
    if (state === drawn) return;
    drawn = state;
    const shown = showsAll ? models : models.filter((model, at) => at < SHOWN || model.promoted);
    const held = document.activeElement instanceof HTMLElement && table.contains(document.activeElement) ? document.activeElement.dataset.model : null;
    table.hidden = !models.length;
    byId("models-empty").hidden = Boolean(models.length);
    setText(byId("models-now"), promotedWords(models, promotions) || "\u00a0");
    byId("models-now").hidden = !models.length;
    if (rollBack) { rollBack.hidden = promotions.length < 2; rollBack.toggleAttribute("disabled", isActing); }
    table.tBodies[0].replaceChildren(...shown.map(row));
    byId("models-more").hidden = shown.length === models.length;
    setText(byId("models-more"), `Show all ${count(models.length)} models`);
    if (held && !isActing) focusOn(held);
  }

  /** @param {Model} model */
  function row(model) {
    const [accuracy, more] = accuracyWords(model.metrics);
    const made = new Date(model.created_at);
    const isChoice = mayPromote && model.kind !== "backbone" && !model.promoted;
    return el("tr", { class: model.promoted ? "promoted" : null },
      el("th", { scope: "row" }, el("span", { class: "model-name", title: model.name, text: modelName(model) }), model.promoted && el("span", { class: "badge", text: "promoted", title: "the project's model" }),
        el("span", { class: "quiet below" }, [KIND_WORDS[model.kind] ?? model.kind, model.network].filter(Boolean).join(", "), " · ", el("time", { datetime: model.created_at, title: moment.format(made), text: day.format(made) }))),
      el("td", { class: "number" }, accuracy, el("span", { class: "quiet below", text: more.replace(/^[ ,]+/, "") || "\u00a0" })),
      mayPromote && el("td", { class: "actions" },
        el("a", { href: `/api/v1/models/${model.id}/file`, download: true, title: sizeWords(model.byte_count), text: "Download", "aria-label": `Download ${modelName(model)} ${sizeWords(model.byte_count)}`.trim() }),
        isChoice && el("button", { class: "button small-button", type: "button", disabled: isActing, dataset: { model: String(model.id) }, text: "Promote", "aria-label": `Promote ${modelName(model)}`, on: { click: (event) => promote(event.currentTarget, model) } })));
  }

  byId("models-more").addEventListener("click", () => { showsAll = true; draw(); });
  return { /** @param {{models: Model[], promotions: Promotion[]}} fresh */ show(fresh) { ({ models, promotions } = fresh); draw(); } };
}
