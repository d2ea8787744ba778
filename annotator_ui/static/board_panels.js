// The board's panels: headline and stages, images by state, people, workers, failed jobs.

import { byId, count, el, percent, plural, seconds, setText } from "./dom.js";
import { STAGE_NAMES, roundWords } from "./round_words.js";

const POOL = [["labelled", "labelled"], ["leased", "with people now"], ["free", "waiting for people"], ["not_queued", "not asked yet"], ["flagged", "flagged"], ["skipped", "skipped"]];

/** @param {any} summary */
export function drawHeadline(summary) {
  const round = summary.round ?? summary.last_round;
  setText(byId("headline"), headlineWords(summary, round));
  setText(byId("subline"), sublineWords(summary, round) || "\u00a0");
  byId("stages").replaceChildren(...(round?.stages ?? []).map((stage) => stageItem(stage, summary)));
  const words = choiceWords(round?.metrics?.choice);
  byId("choice").hidden = !words;
  setText(byId("choice"), words);
}

/** How the batch was chosen, where the strategy says so. @param {{regime?: string, why?: string} | null | undefined} choice */
function choiceWords(choice) {
  const what = { cover: "typical images that no label covers yet", uncertain: "images that the model is unsure about and that stand for many others" }[choice?.regime];
  return what ? `This batch: ${what} (${choice.why}).` : "";
}

function headlineWords(summary, round) {
  const progress = currentProgress(round);
  const part = round?.state === "annotating" && summary.progress.asked ? summary.progress.answered / summary.progress.asked : progress?.total ? progress.done / progress.total : null;
  return roundWords(round) + (summary.round && part !== null ? ` · ${percent(part, 0)}` : "");
}

const currentProgress = (round) => round?.stages?.find((stage) => stage.stage === round.stage)?.progress ?? null;

function sublineWords(summary, round) {
  const { progress } = summary;
  if (round?.state === "annotating") {
    const left = progress.asked - progress.answered;
    const pace = summary.labels_per_minute;
    const words = [`${count(progress.answered)} of ${count(progress.asked)} answered`];
    if (pace > 0) words.push(`${pace.toFixed(1)} labels a minute`, `about ${seconds((left / pace) * 60)} left at that pace`);
    return words.join(" · ");
  }
  if (round?.state === "running") {
    const ahead = progress.answered_ahead ? [`${plural(progress.answered_ahead, "image")} answered ahead`] : [];
    const words = [...progressWords(currentProgress(round)), ...ahead];
    return words.join(" · ") || `The round learns from ${plural(round.labels ?? summary.counts.labelled, "label")}.`;
  }
  if (summary.counts.total === 0 && summary.counts.train_total === 0) return "This project has no images yet.";
  if (!round) return `${plural(summary.counts.labelled + summary.counts.train_total, "label")} so far; a round asks people for the next ones.`;
  if (summary.stop) return summary.stop.text;
  return `${plural(progress.new_labels, "new label")} since it began; ${count(progress.labels_to_trigger)} are enough for the next round.`;
}

/** How far, how fast and how long. @param {any} progress of a stage, or null @returns {string[]} */
function progressWords(progress) {
  if (!progress) return [];
  const words = progress.text ? [progress.text] : [];
  // "epoch 3 of 50" says it already.
  if (progress.total && !/\d/.test(progress.text)) words.push(`${count(progress.done)} of ${count(progress.total)}`);
  if (progress.shards) words.push(`${count(progress.shards_done)} of ${plural(progress.shards, "part")} done`);
  if (progress.per_second >= 1) words.push(`${count(Math.round(progress.per_second))} a second`);
  if (progress.seconds_left !== null && progress.seconds_left !== undefined) words.push(`about ${seconds(progress.seconds_left)} left`);
  return words;
}

function stageItem(stage, summary) {
  const running = stage.progress;
  let part = ["done", "failed"].includes(stage.state) ? 1 : 0;
  if (stage.state === "running" && stage.stage === "annotate") part = summary.progress.asked ? summary.progress.answered / summary.progress.asked : 0;
  else if (stage.state === "running") part = running?.total ? running.done / running.total : 0.08;
  const words = { done: stage.seconds === null ? "done" : seconds(stage.seconds), running: stage.attempt > 1 ? `running, attempt ${stage.attempt}` : "running", failed: "failed", skipped: "not needed", cancelled: "cancelled", pending: "" }[stage.state] ?? stage.state;
  const meter = el("span", { class: "meter" }, el("i"));
  meter.style.setProperty("--part", String(part));
  return el("li", { dataset: { state: stage.state }, "aria-current": stage.state === "running" ? "step" : null, title: stage.error ?? null }, meter, el("b", { text: STAGE_NAMES[stage.stage] ?? stage.stage }), el("span", { text: words || "\u00a0" }));
}

/** @param {Record<string, number>} counts @param {Record<string, number>} holders person -> images in hand */
export function drawPool(counts, holders) {
  const bar = byId("pool-bar");
  const used = POOL.filter(([name]) => counts[name] > 0);
  bar.replaceChildren(...used.map(([name]) => { const part = el("i", { class: name }); part.style.flexGrow = String(counts[name]); return part; }));
  bar.setAttribute("aria-label", used.map(([name, words]) => `${count(counts[name])} ${words}`).join(", ") || "no images");
  byId("pool").replaceChildren(
    ...POOL.map(([name, words]) => el("div", { class: name }, el("dt", { text: words }), el("dd", { text: count(counts[name] ?? 0) }))),
    el("div", { class: "rest" }, el("dt", { class: "sr", text: "In all" }), el("dd", { text: restWords(counts, holders) })),
  );
}

function restWords(counts, holders) {
  const words = [`${plural(counts.total, "image")} in the pool`];
  if (counts.train_total) words.push(`${count(counts.train_total)} came with labels`);
  if (counts.evaluation_total) words.push(`${count(counts.evaluation_labelled)} of ${count(counts.evaluation_total)} evaluation images labelled`);
  const others = Object.values(holders).reduce((sum, held) => sum + held, 0) - counts.leased;
  if (others > 0) words.push(`${count(others)} more with people now, to measure with or to be answered again`);
  if (counts.rejected) words.push(`${count(counts.rejected)} rejected at import`);
  return `${words.join("; ")}.`;
}

/** @param {any} summary */
export function drawPeople(summary) {
  const people = Object.entries(summary.holders).sort((a, b) => b[1] - a[1]);
  byId("people").replaceChildren(
    ...people.map(([name, held]) => el("div", {}, el("dt", { text: name }), el("dd", { text: plural(held, "image") }))),
    people.length ? "" : note("Images held", "Nobody holds an image right now."),
    note("Pace", `${summary.labels_per_minute.toFixed(1)} labels a minute over the last five minutes`, "small"),
  );
  const workers = summary.workers;
  byId("workers").replaceChildren(...(workers?.length ? workers.map((worker) => el("li", {}, el("span", { class: "name", title: worker.name, text: worker.name }), el("span", { class: "state", text: worker.state }))) : [
    el("li", { class: "quiet", text: workers ? "No worker is running. Start one: al worker" : "The broker does not answer, so workers cannot be seen." }),
  ]));
}

/** A sentence in a list of facts; its term is for screen readers only. @param {string} term @param {string} text @param {string} [size] */
const note = (term, text, size = "") => el("div", { class: `note ${size}` }, el("dt", { class: "sr", text: term }), el("dd", { text }));

/** @param {any[]} failures @param {boolean} mayRetry @param {(id: number, button: HTMLElement) => void} retry */
export function drawFailures(failures, mayRetry, retry) {
  byId("failures-panel").hidden = !failures.length;
  byId("failures").replaceChildren(...failures.map((job) => {
    const button = mayRetry && el("button", { class: "button small-button", type: "button", text: "Retry", "aria-label": `Retry job ${job.id}, ${job.kind}`, on: { click: (event) => retry(job.id, event.currentTarget) } });
    return el("li", {}, el("div", {}, el("p", {}, el("b", { text: `${job.kind} ` }), `job ${job.id}, after ${plural(job.attempt ?? 1, "attempt")}: ${job.error ?? "no reason given"}`), el("p", {}, el("code", { text: job.retry_command ?? `al job retry ${job.id}` }))), button || null);
  }));
}
