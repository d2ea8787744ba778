// The learning curve: accuracy over labels with its 95 % band, drawn by plotly in the page's own colours.

import { count, el, percent } from "./dom.js";

/** @typedef {{number: number, labels: number, accuracy: number, low: number, high: number, samples: number}} Point */

/** The measured rounds. @param {any[]} rounds @returns {Point[]} */
export function curvePoints(rounds) {
  return rounds
    .filter((round) => typeof round.metrics?.accuracy === "number")
    .map(({ number, labels, metrics }) => ({
      number, labels, accuracy: metrics.accuracy, samples: metrics.evaluation_samples ?? 0,
      low: metrics.accuracy_ci95?.[0] ?? metrics.accuracy, high: metrics.accuracy_ci95?.[1] ?? metrics.accuracy,
    }))
    .sort((a, b) => a.labels - b.labels || a.number - b.number);
}

/** The curve in one sentence. @param {Point[]} points */
export function curveWords(points) {
  if (!points.length) return "";
  const last = points[points.length - 1];
  const now = `${percent(last.accuracy)} at ${count(last.labels)} labels (95 % interval ${percent(last.low)} to ${percent(last.high)}, ${count(last.samples)} evaluation images)`;
  if (points.length === 1) return `Accuracy is ${now}.`;
  return `Accuracy went from ${percent(points[0].accuracy)} at ${count(points[0].labels)} labels to ${now}. The numbers of every round are in the table below.`;
}

/** @param {HTMLElement} box @param {string} plotlyUrl */
export function createCurve(box, plotlyUrl) {
  /** @type {Promise<any>|null} */ let loading = null;
  /** @type {Point[]} */ let points = [];

  // Four megabytes for one plot: only when there is something to draw, and after everything else.
  function load() {
    loading ??= new Promise((resolve, reject) => {
      const script = el("script", { src: plotlyUrl, on: { load: () => resolve(/** @type {any} */ (window).Plotly), error: () => { loading = null; reject(new Error("plotly")); } } });
      document.head.append(script);
    });
    return loading;
  }

  const plot = el("div", { class: "plot" });
  const words = el("p", { class: "curve-empty" });
  box.replaceChildren(plot, words);

  function note(text) {
    words.textContent = text;
    words.hidden = !text;
  }

  async function draw() {
    if (!points.length) return note("The curve starts with the first measured round. A round is measured on evaluation images that have labels.");
    if (!plot.firstChild) note("Drawing …");
    try {
      const plotly = await load();
      note("");
      await plotly.react(plot, traces(points, colours()), layout(points, colours()), { displayModeBar: false, responsive: true });
    } catch {
      note("The plot does not load; the table below has the same numbers.");
    }
    return undefined;
  }

  document.addEventListener("themechange", draw);
  return { /** @param {Point[]} fresh */ show(fresh) { points = fresh; return draw(); } };
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
  const axis = { gridcolor: colour.line, linecolor: colour.line, zeroline: false, tickcolor: colour.line, color: colour.quiet, fixedrange: true, automargin: true };
  const low = Math.min(...points.map((point) => point.low)) * 100;
  const high = Math.max(...points.map((point) => point.high)) * 100;
  const room = Math.max(2, (high - low) * 0.08);
  return {
    autosize: true, margin: { l: 8, r: 12, t: 8, b: 8 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent", hovermode: "closest", dragmode: false,
    font: { family: colour.font, size: 13, color: colour.quiet },
    xaxis: { ...axis, title: { text: "labels", standoff: 12 }, separatethousands: true, rangemode: points.length === 1 ? "tozero" : "normal", nticks: 8 },
    yaxis: { ...axis, title: { text: "accuracy, %", standoff: 12 }, range: [Math.max(0, low - room), Math.min(100.5, high + room)], nticks: 7 },
    hoverlabel: { bgcolor: colour.surface, bordercolor: colour.line, font: { color: colour.text, family: colour.font, size: 13 }, align: "left" },
  };
}

/** The page's colours as plotly can read them: light-dark() and variables resolved by the browser. */
function colours() {
  const probe = el("span");
  probe.hidden = true;
  document.body.append(probe);
  const resolve = (value) => { probe.style.color = value; return getComputedStyle(probe).color; };
  const found = {
    accent: resolve("var(--accent)"), line: resolve("var(--line)"), quiet: resolve("var(--quiet)"), text: resolve("var(--text)"), surface: resolve("var(--surface)"),
    font: getComputedStyle(document.body).fontFamily,
  };
  probe.remove();
  return { ...found, band: found.accent.replace("rgb(", "rgba(").replace(")", ", 0.16)") };
}
