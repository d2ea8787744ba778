// A study in words and as an entry of a list, the same on the page of all studies and on its own.

import { count, el, percent, plural, seconds } from "./dom.js";

/** @typedef {{initial: number, batch: number, budget: number, random_budget: number}} Sizes */

/** How many models a study trains: one after each batch, for each strategy and repetition.
 * @param {Sizes} sizes @param {string[]} strategies with random @param {number} repetitions */
export function modelsOf(sizes, strategies, repetitions) {
  const points = (end) => Math.max(0, Math.ceil((end - (sizes.initial || sizes.batch)) / sizes.batch)) + 1;
  const more = Math.ceil((sizes.random_budget - sizes.budget) / sizes.batch);
  return repetitions * (strategies.length * points(sizes.budget) + (strategies.includes("random") ? more : 0));
}

/** "random, auto · 3 repetitions · up to 40 labels" @param {any} study */
export const askedWords = (study) => `${study.strategies.filter((name) => name !== "random").join(", ")} against random · ${plural(study.seeds, "repetition")} · up to ${plural(study.budget, "label")}`;

/** @param {any} study */
export function progressWords({ state, progress, models, models_done: done, error }) {
  if (state === "queued") return error ? "Waiting while other work goes first. What is finished is kept." : "Waiting for a worker.";
  if (done === null) {
    const part = progress.total && progress.text ? ` · ${percent(progress.done / progress.total, 0)}` : "";
    return progress.text ? `Preparing: ${progress.text}${part}` : "A worker begins.";
  }
  const left = progress.seconds_left >= 1 ? ` · about ${seconds(progress.seconds_left)} left` : "";
  return `${count(done)} of ${plural(models, "model")} trained${left}`;
}

/** What came out, as strongly as its interval lets us say. @param {any} study */
export function savedWords({ label_savings: ratio, label_savings_ci95: [low, high], seeds }) {
  if (seeds === 1) return "one run, a look only";
  return low > 1 ? `${low.toFixed(2)} to ${high.toFixed(2)}` : high < 1 ? `${low.toFixed(2)} to ${high.toFixed(2)}, random is better` : `${low.toFixed(2)} to ${high.toFixed(2)}, no clear difference`;
}

const dates = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

/**
 * One study as an entry of a list.
 * @param {any} study
 * @param {{href: string|null, mayEngineer: boolean, act: (what: "cancel"|"retry", id: number, button: HTMLElement) => void}} options
 */
export function studyEntry(study, { href, mayEngineer, act }) {
  const { id, state } = study;
  const name = `Study ${id}`;
  const button = (what, text) => mayEngineer && el("button", { class: "button small-button", type: "button", "aria-label": `${text} study ${id}`, dataset: { key: `${what}-${id}` }, text, on: { click: (event) => act(what, id, event.currentTarget) } });
  const when = el("p", { class: "quiet small" }, href ? el("a", { href, dataset: { key: `study-${id}` }, text: name }) : name, ` · ${dates.format(new Date(study.finished_at ?? study.created_at))} · ${askedWords(study)}`);
  if (state === "done") {
    return el("li", { class: "card entry done" },
      el("p", { class: "saved" }, el("b", { text: `${study.label_savings.toFixed(2)} ×` }), el("span", { class: "quiet small", text: savedWords(study) })),
      el("div", {}, el("p", { class: "words" }, href ? el("a", { href, dataset: { key: `words-${id}` }, text: study.words }) : study.words), when));
  }
  if (state === "queued" || state === "running") {
    const part = study.models_done === null ? 0 : study.models_done / study.models;
    const meter = el("span", { class: "meter", role: "progressbar", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(part * 100) }, el("i"));
    meter.style.setProperty("--part", String(part));
    return el("li", { class: "card entry alive" }, el("div", { class: "now" }, el("p", { role: "status", text: progressWords(study) }), button("cancel", "Stop")), meter, when);
  }
  const reason = state === "failed" ? study.error ?? "It failed." : "It was stopped. Its finished runs are kept until the next study begins.";
  return el("li", { class: `card entry ${state}` }, el("div", { class: "now" }, el("p", { class: "reason", text: reason }), button("retry", state === "failed" ? "Try again" : "Go on")), when);
}
