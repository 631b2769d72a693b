// GoB, PoW, MOS and users of a group over time, with markers for alerts and changes.
//
// A view is what the charts draw: name (of the time range), past (times_s and a list per figure), tick_s (distance of
// the points), scale, changes, source, from_s and to_s, before (past and tick_s of the day before, with its times moved
// by a day) or null, remark, totals (sentences on the whole range); or name and problem, if there is nothing to draw.

import { bands, lines } from "./gaps.js";
import { axis, colour, faded } from "./plot.js";
import { level, percent, score, span, timeOfDay, windowText, zone } from "./words.js";

const LEAST_SPAN_S = 30;
const LIVE_METRICS = { shares: "qoemon_gob_ratio, qoemon_pow_ratio, qoemon_pow_ratio_bound", opinion: "qoemon_mos, qoemon_window_users" };

// The last hour, from the daemon's memory.
export function liveView(detail) {
  const { past, tick_s, scale, confidence, changes } = detail;
  const [first, to_s] = [past.times_s[0], past.times_s.at(-1)];
  const length = to_s - first;
  const name = length > 3500 ? "last hour" : `last ${span(length)}`;
  const older = tick_s < 30 ? ` (30 s beyond ${span(60 * tick_s)})` : "";
  const source = `Resolution ${tick_s} s${older}; each point covers the last ${windowText(detail.base_window)}`;
  const from_s = Math.min(first, to_s - LEAST_SPAN_S);
  return { name, past, tick_s, scale, confidence, changes, source, from_s, to_s, live: true };
}

// plotly shows times without a zone unchanged, so they are converted to local time here.
function local(time_s) {
  const at = new Date(time_s * 1000);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 23);
}

function timeAxis({ from_s, to_s }) {
  const range = [local(from_s), local(to_s)];
  const stops = to_s - from_s > 72000 ? DAYS : STOPS;
  return axis(`time (${zone()})`, { type: "date", range, fixedrange: false, tickformatstops: stops, nticks: 4, tickangle: 0 });
}

const STOPS = [
  { dtickrange: [null, 60000], value: "%H:%M:%S" },
  { dtickrange: [60000, null], value: "%H:%M" },
];

const DAYS = [
  { dtickrange: [null, 86400000], value: "%H:%M\n%d %b" },
  { dtickrange: [86400000, null], value: "%d %b" },
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

const beforeLine = ({ before }, column, factor, more) => (before ? [line(before, column, factor, more)] : []);

// A marker at the top for each change; the list of changes has the details. Vertical lines would hide the curves.
function changes(view, top) {
  const within = view.changes.filter(({ time_s }) => time_s >= view.from_s && time_s <= view.to_s);
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

const known = (values) => values.some((value) => value != null);

// The spec of a chart over time; make: what differs between the charts. Without data, the last hour has no chart.
function chart(view, title, column, key, make) {
  const named = { title: `${title}${view.name ? `, ${view.name}` : ""}` };
  if (view.problem) return { ...named, problem: view.problem };
  if (!known(view.past[column])) return view.live ? null : { ...named, problem: "No data in this time range." };
  const source = view.live
    ? [`${view.source} (${LIVE_METRICS[key]}).`, view.remark]
    : [view.totals?.[key], view.source];
  return { ...named, source: source.filter(Boolean).join(" "), zoom: true, ...make() };
}

const intervalName = ({ confidence }) => `PoW, ${level(confidence)} interval`;

export function shares(view) {
  return chart(view, "GoB and PoW", "pow", "shares", () => ({
    traces: () => [
      line(view, "gob", 100, {
        name: "GoB",
        line: { color: colour("gob"), width: 2.5, dash: "dash" },
        hovertemplate: "GoB %{y:.1f} %<extra></extra>",
      }),
      band(view, ["pow_lower", "pow_upper"], 100, { fillcolor: faded("pow", 0.25), name: intervalName(view) }),
      line(view, "pow", 100, {
        name: "PoW",
        line: { color: colour("pow"), width: 3 },
        hovertemplate: "PoW %{y:.1f} %<extra></extra>",
      }),
      ...beforeLine(view, "pow", 100, {
        name: "PoW, day before",
        line: { color: colour("text"), width: 1.5, dash: "dash" },
        hovertemplate: "day before %{y:.1f} %<extra></extra>",
      }),
      ...changes(view, 104),
    ],
    layout: () => ({
      hovermode: "x unified",
      xaxis: timeAxis(view),
      yaxis: axis("share of users, %", { range: [-2, 106], tickvals: [0, 25, 50, 75, 100] }),
    }),
    table: overTime(view, ["GoB", "PoW", intervalName(view)], "pow", percent, (past, i) => [
      percent(past.gob[i]),
      percent(past.pow[i]),
      `${percent(past.pow_lower[i])} to ${percent(past.pow_upper[i])}`,
    ]),
  }));
}

export function opinion(view) {
  return chart(view, "MOS and users", "mos", "opinion", () => {
    const { low, high } = view.scale;
    const room = (high - low) / 40;
    return {
      traces: () => [
        line(view, "mos", 1, {
          name: "MOS",
          line: { color: colour("mos"), width: 3 },
          hovertemplate: "MOS %{y:.2f}<extra></extra>",
        }),
        line(view, "users", 1, {
          name: "users (right)",
          yaxis: "y2",
          line: { color: colour("muted"), width: 1.5, dash: "dot" },
          hovertemplate: "%{y} users<extra></extra>",
        }),
        ...beforeLine(view, "mos", 1, {
          name: "MOS, day before",
          line: { color: colour("text"), width: 1.5, dash: "dash" },
          hovertemplate: "day before %{y:.2f}<extra></extra>",
        }),
        ...changes(view, high + room),
      ],
      layout: () => ({
        hovermode: "x unified",
        xaxis: timeAxis(view),
        yaxis: axis("MOS, scale points", { range: [low - room, high + 2 * room], dtick: 1 }),
        yaxis2: axis("users", { ...RIGHT, rangemode: "tozero", tickmode: "auto", nticks: 5 }),
      }),
      table: overTime(view, ["MOS", "users"], "mos", score, (past, i) => [score(past.mos[i]), past.users[i] ?? "–"]),
    };
  });
}

const RIGHT = { overlaying: "y", side: "right", showgrid: false };

// The figures as a table, newest first; with those of the day before where it has a point of the same time.
function overTime({ past, before }, head, column, format, row) {
  const earlier = new Map(before?.past.times_s.map((time_s, i) => [time_s, before.past[column][i]]));
  const more = before ? ["day before"] : [];
  const rows = past.times_s.map((time_s, i) => [
    timeOfDay(time_s),
    ...row(past, i),
    ...more.map(() => format(earlier.get(time_s))),
  ]);
  return { head: ["time", ...head, ...more], rows: rows.reverse() };
}
