// The learning curve: accuracy over labels with its 95 % band, drawn by plotly in the page's own colours.

import { axisOf, createPlot, layoutOf } from "./board_plot.js";
import { count, percent } from "./dom.js";

/** @typedef {{number: number, labels: number, accuracy: number, low: number, high: number, samples: number, plain: number|null}} Point */

/** The measured rounds. @param {any[]} rounds @returns {Point[]} */
export function curvePoints(rounds) {
  return rounds
    .filter((round) => typeof round.metrics?.accuracy === "number")
    .map(({ number, labels, metrics }) => ({
      number, labels, accuracy: metrics.accuracy, samples: metrics.evaluation_samples ?? 0, plain: plainAccuracy(metrics),
      low: metrics.accuracy_ci95?.[0] ?? metrics.accuracy, high: metrics.accuracy_ci95?.[1] ?? metrics.accuracy,
    }))
    .sort((a, b) => a.labels - b.labels || a.number - b.number);
}

/** Accuracy of the same round trained without unlabelled images; null where nobody trained it. @param {any} metrics @returns {number|null} */
export const plainAccuracy = (metrics) => (typeof metrics.plain?.accuracy === "number" ? metrics.plain.accuracy : null);

/** The curve in a few words. @param {Point[]} points */
export function curveWords(points) {
  if (!points.length) return "";
  const last = points[points.length - 1];
  const now = `${percent(last.accuracy)} at ${count(last.labels)} labels (95 % interval ${percent(last.low)} to ${percent(last.high)}, ${count(last.samples)} evaluation images)`;
  const compared = last.plain === null ? "" : ` ${percent(last.accuracy)} with, ${percent(last.plain)} without unlabelled images.`;
  if (points.length === 1) return `Accuracy is ${now}.${compared}`;
  return `Accuracy went from ${percent(points[0].accuracy)} at ${count(points[0].labels)} labels to ${now}.${compared} The numbers of every round are in the table below.`;
}

/** @param {HTMLElement} box @param {string} plotlyUrl */
export function createCurve(box, plotlyUrl) {
  const plot = createPlot(box, plotlyUrl);
  return {
    /** @param {Point[]} points */
    show(points) {
      if (!points.length) return plot.show(null, "The curve starts with the first measured round. A round is measured on evaluation images that have labels.");
      return plot.show((colour) => ({ data: traces(points, colour), layout: layout(points, colour) }));
    },
  };
}

function traces(points, colour) {
  const x = points.map((point) => point.labels);
  const line = (y, more) => ({ x, y, type: "scatter", mode: "lines", line: { width: 0 }, hoverinfo: "skip", showlegend: false, ...more });
  const isAlone = points.length === 1;
  return [
    line(points.map((point) => point.low * 100), {}),
    line(points.map((point) => point.high * 100), { fill: "tonexty", fillcolor: colour.band }),
    {
      x, y: points.map((point) => point.accuracy * 100), type: "scatter", mode: "lines+markers", name: "accuracy", showlegend: false,
      line: { color: colour.accent, width: 2.5 }, marker: { color: colour.accent, size: 8, line: { color: colour.surface, width: 2 } },
      error_y: isAlone ? { type: "data", symmetric: false, array: [(points[0].high - points[0].accuracy) * 100], arrayminus: [(points[0].accuracy - points[0].low) * 100], color: colour.accent } : { visible: false },
      customdata: points.map((point) => [point.number, percent(point.low), percent(point.high), count(point.samples)]),
      hovertemplate: "<b>%{y:.1f} %</b>, round %{customdata[0]}<br>%{x:,} labels<br>95 %: %{customdata[1]} to %{customdata[2]}<br>n = %{customdata[3]}<extra></extra>",
    },
  ];
}

function layout(points, colour) {
  const low = Math.min(...points.map((point) => point.low)) * 100;
  const high = Math.max(...points.map((point) => point.high)) * 100;
  const room = Math.max(2, (high - low) * 0.08);
  return {
    ...layoutOf(colour),
    xaxis: { ...axisOf(colour, "labels"), separatethousands: true, rangemode: points.length === 1 ? "tozero" : "normal", nticks: 8 },
    yaxis: { ...axisOf(colour, "accuracy, %"), range: [Math.max(0, low - room), Math.min(100.5, high + room)], nticks: 7 },
  };
}
