// The last hour of a group: GoB, PoW, MOS and users, with markers for alerts and changes.

import { bands, lines } from "./gaps.js";
import { axis, colour, faded } from "./plot.js";
import { percent, score, span, timeOfDay, windowText, zone } from "./words.js";

// plotly shows times without a zone unchanged, so they are converted to local time here.
function local(time_s) {
  const at = new Date(time_s * 1000);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 23);
}

const LEAST_SPAN_S = 30;

function timeAxis(past) {
  const times = past.times_s;
  const range = [local(Math.min(times[0], times.at(-1) - LEAST_SPAN_S)), local(times.at(-1))];
  return axis(`time (${zone()})`, { type: "date", range, tickformatstops: STOPS, nticks: 4, tickangle: 0 });
}

const STOPS = [
  { dtickrange: [null, 60000], value: "%H:%M:%S" },
  { dtickrange: [60000, null], value: "%H:%M" },
];

const scatter = (points, factor, more) => ({
  type: "scatter",
  mode: "lines",
  x: points.map(([time]) => local(time)),
  y: points.map(([, value]) => (value === null ? null : factor * value)),
  ...more,
});

const line = ({ past, tick_s }, column, factor, more) => scatter(lines(past.times_s, past[column], tick_s), factor, more);

// Closed polygons, not a line filled to the one before it, which plotly continues across gaps.
const band = ({ past, tick_s }, [lower, upper], factor, more) =>
  scatter(bands(past.times_s, past[lower], past[upper], tick_s), factor, {
    fill: "toself",
    line: { width: 0 },
    hoverinfo: "skip",
    ...more,
  });

// A marker at the top for each change; the list of changes has the details. Vertical lines would hide the curves.
function changes(detail, top) {
  const within = detail.changes.filter((change) => change.time_s >= detail.past.times_s[0]);
  if (!within.length) return [];
  return [
    {
      type: "scatter",
      mode: "markers",
      name: "change",
      x: within.map((change) => local(change.time_s)),
      y: within.map(() => top),
      marker: { symbol: "triangle-down", size: 11, color: colour("text") },
      cliponaxis: false,
      text: within.map((change) => `${change.what}: ${change.after}`),
      hovertemplate: "%{text}<extra></extra>",
    },
  ];
}

const spanShown = (detail) => {
  const times = detail.past.times_s;
  const length = times.at(-1) - times[0];
  return length > 3500 ? "last hour" : `last ${span(length)}`;
};

function source(detail) {
  const older = detail.tick_s < 30 ? ` (30 s beyond ${span(60 * detail.tick_s)})` : "";
  return `Resolution ${detail.tick_s} s${older}; each point covers the last ${windowText(detail.base_window)}`;
}

export function shares(detail) {
  const past = detail.past;
  if (!past.pow.some((value) => value != null)) return null;
  return {
    title: `GoB and PoW, ${spanShown(detail)}`,
    source: `${source(detail)} (qoemon_gob_ratio, qoemon_pow_ratio, qoemon_pow_ratio_bound).`,
    traces: () => [
      line(detail, "gob", 100, {
        name: "GoB",
        line: { color: colour("gob"), width: 2.5, dash: "dash" },
        hovertemplate: "GoB %{y:.1f} %<extra></extra>",
      }),
      band(detail, ["pow_lower", "pow_upper"], 100, { fillcolor: faded("pow", 0.25), name: "PoW, 95 % interval" }),
      line(detail, "pow", 100, {
        name: "PoW",
        line: { color: colour("pow"), width: 3 },
        hovertemplate: "PoW %{y:.1f} %<extra></extra>",
      }),
      ...changes(detail, 104),
    ],
    layout: () => ({
      hovermode: "x unified",
      xaxis: timeAxis(past),
      yaxis: axis("share of users, %", { range: [-2, 106], tickvals: [0, 25, 50, 75, 100] }),
    }),
    table: overTime(past, ["GoB", "PoW", "PoW, 95 % interval"], (i) => [
      percent(past.gob[i]),
      percent(past.pow[i]),
      `${percent(past.pow_lower[i])} to ${percent(past.pow_upper[i])}`,
    ]),
  };
}

export function opinion(detail) {
  const past = detail.past;
  if (!past.mos.some((value) => value != null)) return null;
  const { low, high } = detail.scale;
  const room = (high - low) / 40;
  return {
    title: `MOS and users, ${spanShown(detail)}`,
    source: `${source(detail)} (qoemon_mos, qoemon_window_users).`,
    traces: () => [
      line(detail, "mos", 1, {
        name: "MOS",
        line: { color: colour("mos"), width: 3 },
        hovertemplate: "MOS %{y:.2f}<extra></extra>",
      }),
      line(detail, "users", 1, {
        name: "users (right)",
        yaxis: "y2",
        line: { color: colour("muted"), width: 1.5, dash: "dot" },
        hovertemplate: "%{y} users<extra></extra>",
      }),
      ...changes(detail, high + room),
    ],
    layout: () => ({
      hovermode: "x unified",
      xaxis: timeAxis(past),
      yaxis: axis("MOS, scale points", { range: [low - room, high + 2 * room], dtick: 1 }),
      yaxis2: axis("users", { ...RIGHT, rangemode: "tozero", tickmode: "auto", nticks: 5 }),
    }),
    table: overTime(past, ["MOS", "users"], (i) => [score(past.mos[i]), past.users[i] ?? "–"]),
  };
}

const RIGHT = { overlaying: "y", side: "right", showgrid: false };

function overTime(past, head, row) {
  const newestFirst = past.times_s.map((time, i) => [timeOfDay(time), ...row(i)]).reverse();
  return { head: ["time", ...head], rows: newestFirst };
}
