// Charts by plotly, if the daemon serves it, in the colours of the page's theme. Dragging in one over time zooms.

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

export const remPx = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

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

// On a touch screen dragging scrolls.
const canDrag = () => !matchMedia("(pointer: coarse)").matches;

const PICTURE = { format: "png", width: 1200, height: 600, scale: 2 };
const OPTIONS = { displayModeBar: false, doubleClick: false, showTips: false };

// A figure element with a title, a chart, the source of its data, a button that saves it, and the data as a table.
export class Chart {
  // onZoom(from_s, to_s): the user chose a part of the time axis by dragging.
  constructor(name, onZoom) {
    [this._name, this._onZoom] = [name, onZoom];
    this._title = el("h3");
    this._plot = el("div", { class: "plot", role: "img" });
    this._plot.addEventListener("pointerdown", () => (this._held = true));
    for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => (this._held = false));
    this._problem = el("p", { class: "problem", role: "status", hidden: true });
    this._source = el("p", { class: "source" });
    this._save = el("button", { type: "button", title: "save the chart as a picture", click: () => this._savePicture() }, "PNG");
    this._cells = el("div", { class: "cells" });
    this._more = el("details", {}, el("summary", {}, "data as a table"), this._cells);
    this._more.addEventListener("toggle", () => this._fill());
    // Not plotly's `responsive`, which misses a change of the column's width when another chart appears.
    new ResizeObserver(() => this._resize()).observe(this._plot);
    const caption = el("figcaption", {}, this._source, el("div", { class: "data" }, this._more, this._save));
    this.figure = el("figure", { id: name }, this._title, this._plot, this._problem, caption);
  }

  // spec: title, source, traces, layout, table {head, rows}, zoom; or title and problem, which takes the place of the
  // chart; null hides the figure.
  async draw(spec) {
    if (this._held) return; // A drag would lose its frame; the next tick draws.
    this.figure.hidden = spec === null;
    this._spec = spec;
    if (spec === null) return;
    const problem = spec.problem ?? "";
    setText(this._title, spec.title);
    setText(this._source, spec.source ?? "");
    setText(this._problem, problem);
    this._plot.hidden = missing || problem !== "";
    this._more.open ||= missing;
    this._more.hidden = problem !== "";
    this._save.hidden = plotly === null || problem !== "";
    if (problem) return;
    this._fill();
    if (plotly === null) return;
    this._plot.setAttribute("aria-label", `${spec.title}; data in the table below`);
    await plotly.react(this._plot, spec.traces(), this._layout(), OPTIONS);
    this._listen();
  }

  _layout() {
    return layout({ ...this._spec.layout(), dragmode: this._spec.zoom && canDrag() ? "zoom" : false });
  }

  // plotly adds its methods to the element when it draws for the first time.
  _listen() {
    if (this._listening) return;
    this._listening = true;
    this._plot.on("plotly_relayout", (changes) => {
      const ends = [0, 1].map((end) => new Date(changes[`xaxis.range[${end}]`]).getTime() / 1000);
      if (ends.every(Number.isFinite)) this._onZoom(...ends);
    });
  }

  // With the title, and on the colour of the page instead of none.
  async _savePicture() {
    const { title } = this._spec;
    const more = { title: { text: title }, margin: margins(6), paper_bgcolor: colour("panel") };
    const data = await plotly.toImage({ data: this._spec.traces(), layout: { ...this._layout(), ...more } }, PICTURE);
    el("a", { href: data, download: `qoemon-${this._name}.png` }).click();
  }

  _resize() {
    const drawn = this._plot.classList.contains("js-plotly-plot");
    if (drawn && this._plot.clientWidth) plotly.Plots.resize(this._plot);
  }

  _fill() {
    if (this._more.open && this._spec?.table) this._cells.replaceChildren(table(this._spec.table.head, this._spec.table.rows));
  }
}
