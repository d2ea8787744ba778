// How far the model's own percentages can be trusted: a reliability diagram before and after temperature scaling.

import { toCsv } from "./board_csv.js";
import { axisOf, createPlot, layoutOf } from "./board_plot.js";
import { byId, count, el, percent, setText } from "./dom.js";

/** @typedef {{count: number, confidence: number, accuracy: number, low: number, high: number}} Bin */
/** @typedef {{ece: number, brier: number, nll: number, reliability: Bin[]}} Measured */
/** @typedef {{temperature: number, count: number, before: Measured, after: Measured}} Calibration */

const TYPICAL = 0.9;
// Points of confidence against points of accuracy: less than this nobody would notice.
const NOTICEABLE = 0.02;
const FEW_IMAGES = 100;
const DIGITS = 3;
/** @type {["ece"|"brier"|"nll", string, string][]} */
const SCORES = [
  ["ece", "Calibration error", "ECE: how far what the model says is from how often it is right, on average; 0 % is perfect"],
  ["brier", "Brier score", "squared distance between the percentages and the truth; 0 is perfect, 2 the worst"],
  ["nll", "Log loss", "NLL: how surprised the model is by the truth; 0 is perfect"],
];

/** The round's calibration, bins without images left out; null where it has none. @param {any} metrics @returns {Calibration|null} */
export function calibrationOf(metrics) {
  const found = metrics?.calibration;
  const clean = (part) => ({ ...part, reliability: (part?.reliability ?? []).filter((bin) => bin.count > 0 && typeof bin.accuracy === "number") });
  const [before, after] = [clean(found?.before), clean(found?.after)];
  return before.reliability.length && after.reliability.length ? { ...found, before, after } : null;
}

/** What it means, for somebody who labels. @param {Calibration} calibration */
export function calibrationWords({ before, after, count: images }) {
  const bin = after.reliability.reduce((best, one) => (Math.abs(one.confidence - TYPICAL) < Math.abs(best.confidence - TYPICAL) ? one : best));
  const few = images < FEW_IMAGES ? ` Only ${count(images)} images were looked at, so take it as a rough guide.` : "";
  return `When the model says ${percent(bin.confidence, 0)}, it is right ${percent(bin.accuracy, 0)} of the time; ${beforeWords(before, after)}.${few}`;
}

function beforeWords(before, after) {
  const images = before.reliability.reduce((sum, bin) => sum + bin.count, 0);
  const lean = before.reliability.reduce((sum, bin) => sum + bin.count * (bin.confidence - bin.accuracy), 0) / images;
  if (Math.abs(lean) < NOTICEABLE) return "it hardly needed adjusting";
  const was = `before adjusting it was ${lean > 0 ? "too sure" : "not sure enough"} of itself`;
  return after.ece < before.ece ? was : `${was}, and adjusting did not help`;
}

/** @param {string} plotlyUrl */
export function createCalibration(plotlyUrl) {
  const plot = createPlot(byId("reliability"), plotlyUrl);
  let drawn = "";
  /** @type {{round: number|null, calibration: Calibration|null}} */ let shown = { round: null, calibration: null };

  return {
    /** @param {import("./board_detail.js").Detail} detail */
    show(detail) {
      const calibration = calibrationOf(detail.metrics);
      const fresh = JSON.stringify([detail.state, detail.round, calibration]);
      if (fresh === drawn) return;
      drawn = fresh;
      shown = { round: detail.round, calibration };
      // While they are on their way their room is kept, so that nothing moves when they come.
      for (const id of ["calibration-numbers", "calibration-downloads", "calibration-side"]) {
        byId(id).classList.toggle("unseen", detail.state === "loading");
        byId(id).hidden = !calibration && detail.state !== "loading";
      }
      byId("calibration-words").hidden = !calibration && detail.state !== "loading";
      setText(byId("calibration-words"), calibration ? calibrationWords(calibration) : "\u00a0");
      if (!calibration) { plot.show(null, missingWords(detail)); return; }
      drawScores(byId("calibration-scores"), calibration);
      drawBins(byId("calibration-bins"), calibration);
      setText(byId("calibration-source"), `Round ${detail.round}, ${count(calibration.count)} evaluation images, temperature ${calibration.temperature.toFixed(2)}`);
      plot.show((colour) => ({ data: traces(calibration, colour), layout: layout(calibration, colour) }));
    },
    csv: () => toCsv(["round", "adjusted", "confidence", "accuracy", "accuracy_low", "accuracy_high", "evaluation_samples"],
      parts(shown.calibration).flatMap(([name, bins]) => bins.map((bin) => [shown.round, name, bin.confidence, bin.accuracy, bin.low, bin.high, bin.count]))),
  };
}

/** @param {Calibration|null} calibration @returns {["after"|"before", Bin[]][]} */
const parts = (calibration) => (calibration ? [["after", calibration.after.reliability], ["before", calibration.before.reliability]] : []);

function missingWords({ state, round }) {
  if (state === "none") return "It is measured with the first round that has labelled evaluation images.";
  if (state === "failed") return "These numbers do not load right now. The page keeps trying.";
  if (state === "loading") return "";
  return `Round ${round} was measured without it. The next measured round brings it.`;
}

function drawScores(table, { before, after }) {
  const shown = (name, value) => el("td", { class: "number", text: typeof value !== "number" ? "–" : name === "ece" ? percent(value) : value.toFixed(DIGITS) });
  table.tBodies[0].replaceChildren(...SCORES.map(([name, words, title]) => el("tr", {}, el("th", { scope: "row", title, text: words }), shown(name, before[name]), shown(name, after[name]))));
}

function drawBins(table, calibration) {
  const names = { after: "After adjusting", before: "Before adjusting" };
  table.querySelectorAll("tbody").forEach((body) => body.remove());
  table.append(...parts(calibration).map(([name, bins]) => el("tbody", {},
    el("tr", {}, el("th", { scope: "rowgroup", colspan: 4, text: names[name] })),
    ...bins.map((bin) => el("tr", {}, el("td", { class: "number", text: percent(bin.confidence) }), el("td", { class: "number", text: percent(bin.accuracy) }),
      el("td", { class: "number", text: `${percent(bin.low)} to ${percent(bin.high)}` }), el("td", { class: "number", text: count(bin.count) }))))));
}

function traces({ before, after }, colour) {
  const x = (bins) => bins.map((bin) => bin.confidence * 100);
  const y = (bins, name) => bins.map((bin) => bin[name] * 100);
  const edge = (name, more) => ({ x: x(after.reliability), y: y(after.reliability, name), type: "scatter", mode: "lines", line: { width: 0 }, hoverinfo: "skip", ...more });
  const line = (name, bins, shade, width, size) => ({
    name, x: x(bins), y: y(bins, "accuracy"), type: "scatter", mode: "lines+markers",
    line: { color: shade, width }, marker: { color: shade, size, symbol: name === "after" ? "circle" : "square", line: { color: colour.surface, width: size / 4 } },
    customdata: bins.map((bin) => [percent(bin.low), percent(bin.high), count(bin.count)]),
    hovertemplate: `<b>says %{x:.1f} %, right %{y:.1f} %</b><br>${name} adjusting<br>95 %: %{customdata[0]} to %{customdata[1]}<br>n = %{customdata[2]}<extra></extra>`,
  });
  // One band is enough to read; the intervals before adjusting are in the hover texts and in the table.
  return [
    { name: "perfect", x: [0, 100], y: [0, 100], type: "scatter", mode: "lines", line: { color: colour.quiet, width: 1, dash: "dot" }, hoverinfo: "skip" },
    edge("low", { name: "low" }), edge("high", { name: "high", fill: "tonexty", fillcolor: colour.band }),
    line("before", before.reliability, colour.strong, 1.5, 6), line("after", after.reliability, colour.accent, 2.5, 8),
  ];
}

function layout({ before, after }, colour) {
  // The same stretch on both axes, so that the diagonal is one; weak models say little below one in C.
  const lowest = Math.min(...[before, after].flatMap(({ reliability }) => reliability.flatMap((bin) => [bin.confidence, bin.accuracy])), ...after.reliability.map((bin) => bin.low)) * 100;
  const range = [Math.max(-2, Math.floor(lowest / 10) * 10 - 2), 102];
  return {
    ...layoutOf(colour), showlegend: false,
    xaxis: { ...axisOf(colour, "the model says, %"), range, nticks: 6 }, yaxis: { ...axisOf(colour, "it is right, %"), range, nticks: 6 },
  };
}
