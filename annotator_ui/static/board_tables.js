// The board's tables: rounds and confusion. The numbers of every plot are here as text too.

import { plainAccuracy } from "./board_curve.js";
import { toCsv } from "./board_csv.js";
import { count, el, percent, seconds } from "./dom.js";
import { roundWords, triggerWords } from "./round_words.js";

const ROUNDS_SHOWN = 12;
const MATRIX_MAX = 20;
const PAIRS_SHOWN = 15;
const STATE_WORDS = { running: "running", annotating: "answers", closed: "done", failed: "failed", cancelled: "cancelled" };

const number = (text) => el("td", { class: "number" }, text ?? "–");
const head = (words, isNumber = false, title = null) => el("th", { scope: "col", class: isNumber ? "number" : null, title, text: words });
const wasSkipped = (round, name) => round.stages?.some((stage) => stage.stage === name && stage.state === "skipped");
const time = (value) => number(typeof value === "number" ? seconds(value) : null);

/** @param {HTMLTableElement} table @param {any[]} rounds @param {boolean} showAll @param {() => void} wantAll */
export function drawRounds(table, rounds, showAll, wantAll) {
  const newest = [...rounds].reverse();
  const shown = showAll ? newest : newest.slice(0, ROUNDS_SHOWN);
  table.tHead?.replaceChildren(el("tr", {}, head("Round"), head("State"), head("Labels", true), head("Accuracy", true, "with half the width of its 95 % interval, and on how many evaluation images"), head("Macro F1", true, "the mean of all classes' F1, each class counting the same"),
    head("Train", true), head("Score", true), head("Select", true), head("Labels/min", true), head("Started by")));
  table.tBodies[0].replaceChildren(...(shown.length ? shown.flatMap(roundRows) : [el("tr", {}, el("td", { colspan: 10, class: "quiet", text: "No rounds yet." }))]));
  table.parentElement?.querySelector(".more")?.remove();
  if (!showAll && newest.length > ROUNDS_SHOWN) table.after(el("button", { class: "button small-button more", type: "button", text: `Show all ${newest.length} rounds`, on: { click: wantAll } }));
}

function roundRows(round) {
  const { metrics } = round;
  const rows = [el("tr", {},
    el("th", { scope: "row", text: String(round.number) }), el("td", { class: `state-${round.state}`, title: roundWords(round), text: STATE_WORDS[round.state] ?? round.state }),
    number(count(round.labels)), el("td", { class: "number" }, ...accuracyParts(metrics)), number(typeof metrics.macro_f1 === "number" ? percent(metrics.macro_f1) : null),
    ...["train", "score", "select"].map((name) => time(wasSkipped(round, name) ? null : round.seconds?.[name])),
    number(metrics.labels_per_minute ? metrics.labels_per_minute.toFixed(1) : null), el("td", { text: triggerWords(round.trigger) }))];
  if (round.error) rows.push(el("tr", { class: "why-failed" }, el("td"), el("td", { colspan: 9, text: round.error })));
  return rows;
}

function accuracyParts(metrics) {
  if (typeof metrics.accuracy !== "number") return ["–"];
  const [low, high] = metrics.accuracy_ci95 ?? [null, null];
  const half = low === null ? "" : ` ± ${(((high - low) / 2) * 100).toFixed(1)}`;
  const plain = plainAccuracy(metrics);
  return [percent(metrics.accuracy), el("span", { class: "quiet", text: `${half}, n ${count(metrics.evaluation_samples ?? 0)}` }),
    plain !== null && el("span", { class: "quiet below", text: `${percent(plain)} without unlabelled images` })];
}

/** @param {HTMLTableElement} table @param {{classes: string[], counts: number[][]}|undefined} confusion @returns {string} what the table shows, in words */
export function drawConfusion(table, confusion) {
  table.classList.toggle("pairs", (confusion?.classes.length ?? 0) > MATRIX_MAX);
  table.replaceChildren();
  if (!confusion?.classes.length) return "It is drawn after the first measured round.";
  if (confusion.classes.length > MATRIX_MAX) {
    drawPairs(table, confusion);
    return "The classes that the model mixes up most.";
  }
  drawMatrix(table, confusion);
  return "Rows: what the image is. Columns: what the model says.";
}

function drawMatrix(table, { classes, counts }) {
  const longest = Math.max(...classes.map((name) => name.length));
  table.classList.toggle("short", longest <= 4);
  table.style.setProperty("--name-width", `${Math.min(16, longest) + 2}ch`);
  table.style.setProperty("--columns", String(classes.length));
  const top = el("thead", {}, el("tr", {}, el("td"), ...classes.map((name) => el("th", { scope: "col", title: name }, el("span", { text: name })))));
  const rows = counts.map((row, truth) => {
    const total = row.reduce((sum, value) => sum + value, 0);
    return el("tr", {}, el("th", { scope: "row", title: classes[truth], text: classes[truth] }), ...row.map((value, said) => {
      const cell = el("td", { class: truth === said ? "right" : value ? null : "zero", title: `${classes[truth]} called ${classes[said]}: ${value} of ${total}`, text: value ? String(value) : "·" });
      // The root makes rare mistakes visible too.
      cell.style.setProperty("--part", String(total ? Math.sqrt(value / total) : 0));
      return cell;
    }));
  });
  table.append(top, el("tbody", {}, ...rows));
}

function drawPairs(table, { classes, counts }) {
  const pairs = counts.flatMap((row, truth) => row.map((value, said) => ({ truth, said, value, total: row.reduce((sum, other) => sum + other, 0) })))
    .filter((pair) => pair.truth !== pair.said && pair.value > 0).sort((a, b) => b.value - a.value).slice(0, PAIRS_SHOWN);
  table.append(el("thead", {}, el("tr", {}, head("It is"), head("The model says"), head("Times", true), head("Share", true))),
    el("tbody", {}, ...pairs.map((pair) => el("tr", {}, el("th", { scope: "row", text: classes[pair.truth] }), el("td", { text: classes[pair.said] }), number(String(pair.value)), number(percent(pair.value / pair.total, 0))))));
}

/** All rounds as CSV, one row each. @param {any[]} rounds */
export function roundsCsv(rounds) {
  const names = ["round", "state", "labels", "accuracy", "accuracy_low", "accuracy_high", "evaluation_samples", "macro_f1", "accuracy_without_unlabelled", "train_s", "score_s", "select_s", "labels_per_minute", "trigger", "started_at", "finished_at", "error"];
  const rows = rounds.map((round) => [round.number, round.state, round.labels, round.metrics.accuracy, round.metrics.accuracy_ci95?.[0], round.metrics.accuracy_ci95?.[1], round.metrics.evaluation_samples, round.metrics.macro_f1, plainAccuracy(round.metrics),
    round.seconds?.train, round.seconds?.score, round.seconds?.select, round.metrics.labels_per_minute, round.trigger, round.started_at, round.finished_at, round.error]);
  return toCsv(names, rows);
}
