// How the users of a group would rate: the share of each rating, and the CDF; both with what another theta would say.

import { axis, colour, faded, margins } from "./plot.js";
import { percent } from "./words.js";

const NAMES = ["bad", "poor", "fair", "good", "excellent"]; // ITU-T P.910
const COLOURS = ["rating-1", "rating-2", "rating-3", "rating-4", "rating-5"];

const acr5 = (scale) => scale.low === 1 && scale.high === 5 && scale.poor === 2 && scale.good === 4;

const named = (rating, scale) => (acr5(scale) ? `${rating} ${NAMES[rating - 1]}` : `${rating}`);

// A colour from the worst to the best, whatever the scale.
const tint = (index, count) => colour(COLOURS[Math.round((index * (COLOURS.length - 1)) / Math.max(count - 1, 1))]);

function source(detail) {
  const judged = detail.group.windows[detail.window];
  const band = hasBand(detail) ? `; band: theta ${detail.theta_band.join(" to ")}` : "";
  return `Model: ${detail.mapping}, ${detail.model} ratings, theta ${detail.theta}${band}. ` +
    `${judged.observations.toLocaleString("en-US")} judged in the last ${detail.window}`;
}

const band = (detail, told, i) =>
  hasBand(detail) ? `${percent(told.lower[i])} to ${percent(told.upper[i])}` : "none configured";

const hasBand = (detail) => detail.theta_band.length > 0;

export function distribution(detail) {
  const told = detail.ratings;
  if (told === null) return null;
  const names = told.ratings.map((rating) => named(rating, detail.scale));
  return {
    title: `Rating distribution, last ${detail.window}`,
    source: `${source(detail)} (qoemon_rating_ratio).`,
    traces: () => [
      {
        type: "bar",
        x: told.ratings,
        y: told.share.map((share) => 100 * share),
        marker: { color: told.ratings.map((_, i) => tint(i, told.ratings.length)), line: { width: 1, color: colour("text") } },
        error_y: {
          visible: hasBand(detail),
          type: "data",
          symmetric: false,
          array: told.upper.map((upper, i) => 100 * Math.max(0, upper - told.share[i])),
          arrayminus: told.lower.map((lower, i) => 100 * Math.max(0, told.share[i] - lower)),
          color: colour("text"),
          thickness: 1.5,
        },
        hovertemplate: "%{y:.1f} %<extra></extra>",
      },
    ],
    layout: () => ({
      showlegend: false,
      bargap: 0.25,
      xaxis: axis("rating, scale points", {
        tickvals: told.ratings,
        ticktext: names.map((name, i) => `${name.replace(" ", "<br>")}<br>${percent(told.share[i])}`),
        tickangle: 0,
      }),
      yaxis: axis("share of users, %", { range: [0, Math.min(105, 110 * Math.max(...told.upper, 0.1))] }),
    }),
    table: {
      head: ["rating", "share of users", "theta band"],
      rows: names.map((name, i) => [name, percent(told.share[i]), band(detail, told, i)]),
    },
  };
}

export function cdf(detail) {
  const told = detail.ratings?.cdf;
  if (!told) return null;
  const shape = detail.model === "beta" ? "linear" : "hv";
  const { good, poor } = detail.scale;
  const judged = detail.group.windows[detail.window];
  const points = (y) => ({ x: told.opinions, y: y.map((share) => 100 * share) });
  const line = (y, more) => ({ type: "scatter", mode: "lines", ...points(y), ...more });
  const silent = { hoverinfo: "skip", line: { width: 0, shape } };
  return {
    title: `CDF of the ratings, last ${detail.window}`,
    source: `${source(detail)}. Line: theta ${detail.theta}. PoW is the CDF at ${poor + 0.5}, GoB what is above it at ${good - 0.5}.`,
    traces: () => [
      line(told.lower, silent),
      line(told.upper, { ...silent, fill: "tonexty", fillcolor: faded("mos", 0.25) }),
      line(told.share, {
        line: { width: 3, color: colour("mos"), shape },
        hovertemplate: "%{y:.1f} % rate %{x} or less<extra></extra>",
      }),
    ],
    layout: () => ({
      xaxis: axis("rating, scale points", { range: [detail.scale.low, detail.scale.high], dtick: 1 }),
      yaxis: axis("users who rate at most this, %", { range: [0, 102] }),
      shapes: [marker(poor + 0.5, "pow", "dot"), marker(good - 0.5, "gob", "dash")],
      showlegend: false,
      margin: margins(2),
      annotations: [
        note(poor + 0.5, "right", `PoW ${percent(judged.pow)} ◂`),
        note(good - 0.5, "left", `▸ GoB ${percent(judged.gob)}`),
      ],
    }),
    table: {
      head: ["rating", "users who rate at most this", "theta band"],
      rows: told.opinions.flatMap((opinion, i) =>
        i % 10 ? [] : [[`${opinion}`, percent(told.share[i]), band(detail, told, i)]],
      ),
    },
  };
}

const marker = (x, name, dash) => ({ type: "line", x0: x, x1: x, y0: 0, y1: 100, line: { color: colour(name), width: 2, dash } });

// Above the plot, where no curve can be.
const note = (x, xanchor, text) => ({ x, y: 1, yref: "paper", yanchor: "bottom", xanchor, text, showarrow: false });
