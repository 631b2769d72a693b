// Charts by plotly, where the daemon has it: the same look for all, in the colours of the page's theme.

import { el, say, table } from "./dom.js";

let plotly = null;
let missing = false;

// plotly's bundle brings a map library, which puts a style sheet into the page as it loads. The page's policy forbids
// that, and there are no maps here: for that moment a style element is made as one that does nothing.
// Whether that went well.
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

// What a custom property of the style sheet comes to, in the theme that holds.
export function colour(name) {
  const probe = byProbe();
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

export function faded(name, share) {
  const [r, g, b] = colour(name).match(/[\d.]+/g);
  return `rgba(${r}, ${g}, ${b}, ${share})`;
}

let probe = null;
function byProbe() {
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

// Pixels around a plot; top is in lines of text. Axes take more where their labels need it.
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

// A place for a chart: its title, the chart, where its figures come from, and the same figures as a table.
export class Chart {
  constructor(name) {
    this._title = el("h3");
    this._plot = el("div", { class: "plot", role: "img" });
    this._source = el("p", { class: "source" });
    this._cells = el("div", { class: "cells" });
    this._more = el("details", {}, el("summary", {}, "the figures as a table"), this._cells);
    this._more.addEventListener("toggle", () => this._fill());
    this.place = el("figure", { id: name }, this._title, this._plot, el("figcaption", {}, this._source, this._more));
  }

  // spec: title, source, traces, layout, table {head, rows}; null is nothing to show.
  async draw(spec) {
    this.place.hidden = spec === null;
    this._spec = spec;
    if (spec === null) return;
    say(this._title, spec.title);
    say(this._source, spec.source);
    this._plot.hidden = missing;
    this._more.open ||= missing;
    this._fill();
    if (plotly === null) return;
    this._plot.setAttribute("aria-label", `${spec.title}; the figures stand in the table below`);
    await plotly.react(this._plot, spec.traces(), layout(spec.layout()), { displayModeBar: false, responsive: true });
  }

  _fill() {
    if (this._more.open && this._spec) this._cells.replaceChildren(table(this._spec.table.head, this._spec.table.rows));
  }
}
