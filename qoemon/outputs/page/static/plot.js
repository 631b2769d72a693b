// Charts by plotly, if the daemon serves it, in the colours of the page's theme.

import { el, setText, table } from "./dom.js";

let plotly = null;
let missing = false;

// Loads plotly; returns whether it succeeded. The bundle contains a map library that adds a style sheet, which the
// page's policy forbids. There are no maps here, so while it loads a `style` element is replaced by an inert one.
export async function load() {
  const make = document.createElement;
  document.createElement = (name, ...rest) => make.call(document, name === "style" ? "template" : name, ...rest);
  try {
    await new Promise((resolve, reject) => {
      const script = make.call(document, "script");
      script.src = "static/plotly.min.js";
      script.addEventListener("load", resolve);
      script.addEventListener("error", reject);
      document.head.append(script);
    });
    plotly = window.Plotly;
  } catch {
    missing = true;
  } finally {
    delete document.createElement;
  }
  return !missing;
}

// The colour of a custom property of the style sheet in the current theme.
export function colour(name) {
  const element = probeElement();
  element.style.color = `var(--${name})`;
  return getComputedStyle(element).color;
}

export function faded(name, opacity) {
  const [r, g, b] = colour(name).match(/[\d.]+/g);
  return `rgba(${r}, ${g}, ${b}, ${opacity})`;
}

let probe = null;
function probeElement() {
  if (probe === null) {
    probe = el("span", { hidden: true });
    document.body.append(probe);
  }
  return probe;
}

const remPx = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

export function axis(title, more = {}) {
  return {
    title: { text: title, standoff: 0.4 * remPx() },
    automargin: true,
    fixedrange: true,
    ticks: "outside", // So that the labels of two axes do not meet in the corner.
    ticklen: 0.5 * remPx(),
    tickcolor: "rgba(0,0,0,0)",
    gridcolor: colour("grid"),
    linecolor: colour("grid"),
    zerolinecolor: colour("grid"),
    ...more,
  };
}

// Margins of a plot in pixels; top is in lines of text. Axes take more where their labels need it.
export function margins(top) {
  const size = 0.8 * remPx();
  return { l: 2 * size, r: size, t: top * size, b: 2 * size };
}

function layout(more) {
  const size = 0.8 * remPx();
  return {
    font: { family: "system-ui, sans-serif", size, color: colour("text") },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: margins(0.6),
    legend: { orientation: "h", traceorder: "normal", x: 0, y: 1.02, xanchor: "left", yanchor: "bottom", font: { size } },
    hoverlabel: { font: { size }, bgcolor: colour("panel"), bordercolor: colour("grid") },
    dragmode: false,
    ...more,
  };
}

// A figure element with a title, a chart, the source of its data, and the same data as a table.
export class Chart {
  constructor(name) {
    this._title = el("h3");
    this._plot = el("div", { class: "plot", role: "img" });
    this._source = el("p", { class: "source" });
    this._cells = el("div", { class: "cells" });
    this._more = el("details", {}, el("summary", {}, "data as a table"), this._cells);
    this._more.addEventListener("toggle", () => this._fill());
    // Not plotly's `responsive`, which misses a change of the column's width when another chart appears.
    new ResizeObserver(() => this._resize()).observe(this._plot);
    this.figure = el("figure", { id: name }, this._title, this._plot, el("figcaption", {}, this._source, this._more));
  }

  // spec: title, source, traces, layout, table {head, rows}; null hides the figure.
  async draw(spec) {
    this.figure.hidden = spec === null;
    this._spec = spec;
    if (spec === null) return;
    setText(this._title, spec.title);
    setText(this._source, spec.source);
    this._plot.hidden = missing;
    this._more.open ||= missing;
    this._fill();
    if (plotly === null) return;
    this._plot.setAttribute("aria-label", `${spec.title}; data in the table below`);
    await plotly.react(this._plot, spec.traces(), layout(spec.layout()), { displayModeBar: false });
  }

  _resize() {
    const drawn = this._plot.classList.contains("js-plotly-plot");
    if (drawn && this._plot.clientWidth) plotly.Plots.resize(this._plot);
  }

  _fill() {
    if (this._more.open && this._spec) this._cells.replaceChildren(table(this._spec.table.head, this._spec.table.rows));
  }
}
