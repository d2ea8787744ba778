// What the board's plots share: plotly loaded once and late, the page's own colours, and words where there is no plot.

import { el } from "./dom.js";

/** @typedef {{accent: string, band: string, line: string, strong: string, quiet: string, text: string, surface: string, font: string}} Colours */
/** @typedef {(colours: Colours) => {data: any[], layout: any}} Figure */

const DRAWING = "Drawing …";
/** @type {Promise<any>|null} */ let loading = null;

// Four megabytes: only when there is something to draw, after everything else, and once for all plots.
function loadPlotly(url) {
  loading ??= new Promise((resolve, reject) => {
    const script = el("script", { src: url, on: { load: () => resolve(/** @type {any} */ (window).Plotly), error: () => { loading = null; script.remove(); reject(new Error("plotly")); } } });
    document.head.append(script);
  });
  return loading;
}

/** @param {HTMLElement} box @param {string} plotlyUrl */
export function createPlot(box, plotlyUrl) {
  /** @type {Figure|null} */ let figure = null;
  let instead = "";
  const plot = el("div", { class: "plot" });
  const words = el("p", { class: "plot-words" });
  box.replaceChildren(plot, words);

  function say(text) {
    words.textContent = text;
    words.hidden = !text;
    plot.classList.toggle("unseen", Boolean(text));
  }

  async function draw() {
    if (!figure) return say(instead);
    if (!plot.firstChild) say(DRAWING);
    try {
      const plotly = await loadPlotly(plotlyUrl);
      // What is to be shown may have changed while the library loaded.
      if (!figure) return say(instead);
      say("");
      const { data, layout } = figure(readColours());
      await plotly.react(plot, data, layout, { displayModeBar: false, responsive: true });
    } catch {
      say("The plot does not load; the table has the same numbers.");
    }
    return undefined;
  }

  document.addEventListener("themechange", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  return {
    /** Draw; without a figure the words stand in its place. @param {Figure|null} fresh @param {string} [text] */
    show(fresh, text = "") { [figure, instead] = [fresh, text]; return draw(); },
  };
}

/** The page's colours as plotly can read them: light-dark() and variables resolved by the browser. @returns {Colours} */
function readColours() {
  const probe = el("span");
  probe.hidden = true;
  document.body.append(probe);
  const resolve = (name) => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
  const accent = resolve("accent");
  const found = {
    accent, band: accent.replace("rgb(", "rgba(").replace(")", ", 0.16)"), line: resolve("line"), strong: resolve("line-strong"),
    quiet: resolve("quiet"), text: resolve("text"), surface: resolve("surface"), font: getComputedStyle(document.body).fontFamily,
  };
  probe.remove();
  return found;
}

/** An axis in the page's colours. @param {Colours} colour @param {string} title */
export const axisOf = (colour, title) => ({
  gridcolor: colour.line, linecolor: colour.line, zeroline: false, tickcolor: colour.line, color: colour.quiet, fixedrange: true, automargin: true,
  title: { text: title, standoff: 12, font: { size: 13 } },
});

/** What every figure's layout has. @param {Colours} colour */
export const layoutOf = (colour) => ({
  autosize: true, margin: { l: 8, r: 12, t: 8, b: 8 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent", hovermode: "closest", dragmode: false,
  font: { family: colour.font, size: 13, color: colour.quiet },
  hoverlabel: { bgcolor: colour.surface, bordercolor: colour.line, font: { color: colour.text, family: colour.font, size: 13 }, align: "left" },
});
