// The QoS histogram of a group: a heat map of stall count and stall time, or a bar chart of response times.

import { axis, colour } from "./plot.js";
import { percent, whole, windowText } from "./words.js";

// Classes of shares up to a percentage. Their shades differ in grey, too.
const SHADES = [
  { upto: 1, name: "< 1 %", colour: "heat-1", text: "heat-text-1" },
  { upto: 5, name: "1–5 %", colour: "heat-2", text: "heat-text-2" },
  { upto: 20, name: "5–20 %", colour: "heat-3", text: "heat-text-3" },
  { upto: 50, name: "20–50 %", colour: "heat-4", text: "heat-text-4" },
  { upto: Infinity, name: "> 50 %", colour: "heat-5", text: "heat-text-5" },
];

export function conditions(detail) {
  const histogram = detail.conditions;
  if (histogram === null) return null;
  return histogram.axes.length === 2 ? stalls(detail, histogram) : responses(detail, histogram);
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

function stalls(detail, { axes: [n, t], counts }) {
  const total = sum(counts.flat());
  const all = counts.flatMap((row, x) => row.map((count, y) => ({ x, y, count, share: (100 * count) / total })));
  const cells = all.filter((cell) => cell.count);
  return {
    title: `Stalls and stall time, last ${windowText(detail.base_window)}`,
    source: `Share of sessions in each cell, in %, last ${windowText(detail.base_window)} (QoS histogram).`,
    traces: () => SHADES.map((shade, i) => heat(shade, cells.filter(({ share }) => shadeOf(share) === i), n, t)),
    layout: () => ({
      barmode: "overlay",
      bargap: 0,
      xaxis: axis("stalls / min", categories(n.labels)),
      yaxis: axis("stall time, s / min of media", categories(t.labels)),
    }),
    table: {
      head: ["stalls per minute", "stall time, s per minute of media", "sessions", "share"],
      rows: cells.map(({ x, y, count, share }) => [n.labels[x], t.labels[y], whole(count), percent(share / 100)]),
    },
  };
}

const shadeOf = (share) => SHADES.findIndex(({ upto }) => share < upto);

// One bar per cell, since plotly's heat maps write style attributes, which the page's policy forbids.
function heat(shade, cells, n, t) {
  return {
    type: "bar",
    name: shade.name,
    x: cells.map(({ x }) => x),
    base: cells.map(({ y }) => y - 0.5),
    y: cells.map(() => 1),
    width: 1,
    marker: { color: colour(shade.colour), line: { width: 1, color: colour("panel") } },
    text: cells.map(({ share }) => (share < 0.95 ? share.toFixed(1) : share.toFixed(0))),
    textposition: "inside",
    insidetextanchor: "middle",
    textangle: 0,
    constraintext: "none",
    insidetextfont: { color: colour(shade.text) },
    showlegend: true,
    hovertext: cells.map(({ x, y, count }) => `${n.labels[x]} stalls, ${t.labels[y]} s: ${count} sessions`),
    hoverinfo: "text",
  };
}

const categories = (labels) => ({
  tickvals: labels.map((_, i) => i),
  ticktext: labels,
  range: [-0.5, labels.length - 0.5],
  tickangle: 0,
  zeroline: false,
  showgrid: false,
});

function responses(detail, { axes: [x], counts }) {
  const total = sum(counts);
  const used = counts.map((count, i) => (count ? i : -1)).filter((i) => i >= 0);
  const [first, last] = [Math.max(used[0] - 1, 0), Math.min(used.at(-1) + 1, counts.length - 1)];
  const visible = counts.slice(first, last + 1);
  const labels = x.labels.slice(first, last + 1);
  return {
    title: `Response times, last ${windowText(detail.base_window)}`,
    source: `Responses in the last ${windowText(detail.base_window)}, in classes 26 % wide (QoS histogram).`,
    traces: () => [
      {
        type: "bar",
        x: visible.map((_, i) => i),
        y: visible.map((count) => (100 * count) / total),
        marker: { color: colour("mos"), line: { width: 1, color: colour("panel") } },
        hovertext: visible.map((count, i) => `${labels[i]} s: ${count} responses`),
        hoverinfo: "text",
      },
    ],
    layout: () => ({
      showlegend: false,
      bargap: 0,
      xaxis: axis("response time, s", classTicks(labels)),
      yaxis: axis("share of responses, %", { rangemode: "tozero" }),
    }),
    table: {
      head: ["response time, s", "responses", "share"],
      rows: visible.map((count, i) => [labels[i], whole(count), percent(count / total)]),
    },
  };
}

// At most 8 or so ticks, at the ends of classes.
function classTicks(labels) {
  const ends = labels.map((label) => label.split("–").at(-1)).slice(0, -1);
  const step = Math.ceil(ends.length / 8);
  const indexes = ends.map((_, i) => i).filter((i) => i % step === 0);
  return {
    tickvals: indexes.map((i) => i + 0.5),
    ticktext: indexes.map((i) => ends[i].replace("≤", "")),
    tickangle: 0,
    range: [-0.5, labels.length - 0.5],
  };
}
