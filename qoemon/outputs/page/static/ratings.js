// The rating distribution of a group and the CDF of its opinions, both with their range over the theta band.

import { axis, colour, faded, margins } from "./plot.js";
import { percent, whole, windowText } from "./words.js";

const NAMES = ["bad", "poor", "fair", "good", "excellent"]; // ITU-T P.910
const COLOURS = ["rating-1", "rating-2", "rating-3", "rating-4", "rating-5"];

const acr5 = (scale) => scale.low === 1 && scale.high === 5 && scale.poor === 2 && scale.good === 4;

export const ratingName = (rating, scale) => (acr5(scale) ? `${rating} ${NAMES[rating - 1]}` : `${rating}`);

// A colour from the worst to the best, whatever the scale.
const ratingColour = (index, count) => colour(COLOURS[Math.round((index * (COLOURS.length - 1)) / Math.max(count - 1, 1))]);

function source(detail) {
  const { users } = detail.group.windows[detail.window];
  const band = hasBand(detail) ? `; band: theta ${detail.theta_band.join(" to ")}` : "";
  const count = `${whole(users)} users in the last ${windowText(detail.window)}`;
  return `Model: ${detail.mapping}, ${detail.model} ratings, theta ${detail.theta}${band}. ${count}`;
}

const bandText = (detail, { lower, upper }, i) =>
  hasBand(detail) ? `${percent(lower[i])} to ${percent(upper[i])}` : "none configured";

const hasBand = (detail) => detail.theta_band.length > 0;

export function distribution(detail) {
  const data = detail.ratings;
  if (data === null) return null;
  const names = data.ratings.map((rating) => ratingName(rating, detail.scale));
  return {
    title: `Rating distribution, last ${windowText(detail.window)}`,
    source: `${source(detail)} (qoemon_rating_ratio).`,
    traces: () => [
      {
        type: "bar",
        x: data.ratings,
        y: data.share.map((share) => 100 * share),
        marker: { color: data.ratings.map((_, i) => ratingColour(i, data.ratings.length)), line: { width: 1, color: colour("text") } },
        error_y: {
          visible: hasBand(detail),
          type: "data",
          symmetric: false,
          array: data.upper.map((upper, i) => 100 * Math.max(0, upper - data.share[i])),
          arrayminus: data.lower.map((lower, i) => 100 * Math.max(0, data.share[i] - lower)),
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
        tickvals: data.ratings,
        ticktext: names.map((name, i) => `${name.replace(" ", "<br>")}<br>${percent(data.share[i])}`),
        tickangle: 0,
      }),
      yaxis: axis("share of users, %", { range: [0, Math.min(105, 110 * Math.max(...data.upper, 0.1))] }),
    }),
    table: {
      head: ["rating", "share of users", "theta band"],
      rows: names.map((name, i) => [name, percent(data.share[i]), bandText(detail, data, i)]),
    },
  };
}

// The opinion is continuous, a rating is the opinion rounded: the ratings' steps meet the curve in their middles.
export function cdf(detail) {
  const data = detail.ratings?.cdf;
  if (!data) return null;
  const hasOpinion = detail.model === "beta"; // The other models have only ratings.
  const name = hasOpinion ? "opinion" : "rating";
  const { good, poor, high, low } = detail.scale;
  const figures = detail.group.windows[detail.window];
  const upto = cumulative(detail.ratings.share);
  return {
    title: `CDF of ${hasOpinion ? "the opinions and ratings" : "the ratings"}, last ${windowText(detail.window)}`,
    source: `${source(detail)}. ${hasOpinion ? ROUNDED : ""}PoW is the CDF at ${poor + 0.5}, GoB is 1 minus the CDF at ${good - 0.5}.`,
    traces: () => [
      ...(hasBand(detail) ? bandTraces(data, hasOpinion) : []),
      cdfLine(data.opinions, data.share, hasOpinion, name, { width: 3, color: colour("mos") }),
      ...(hasOpinion ? [cdfLine(detail.ratings.ratings, upto, false, "rating", { width: 1.5, color: colour("text") })] : []),
    ],
    layout: () => ({
      xaxis: axis(`${hasOpinion ? "opinion or rating" : "rating"}, scale points`, { range: [low, high], dtick: 1 }),
      yaxis: axis("users up to this, %", { range: [0, 102] }),
      shapes: [marker(poor + 0.5, "pow", "dot"), marker(good - 0.5, "gob", "dash")],
      margin: margins(4),
      legend: { orientation: "h", traceorder: "normal", x: 0, xanchor: "left", y: 1, yref: "container", yanchor: "top" },
      annotations: [
        note(poor + 0.5, "right", `PoW ${percent(figures.pow)} ◂`),
        note(good - 0.5, "left", `▸ GoB ${percent(figures.gob)}`),
      ],
    }),
    table: {
      head: ["scale points", ...(hasOpinion ? ["opinion up to this"] : []), "rating up to this", `theta band of the ${name}`],
      rows: data.opinions.flatMap((opinion, i) => {
        if (i % 10) return [];
        const shares = hasOpinion ? [data.share[i], upto[Math.floor(opinion) - low]] : [data.share[i]];
        return [[`${opinion}`, ...shares.map(percent), bandText(detail, data, i)]];
      }),
    },
  };
}

const ROUNDED = "A rating is the opinion rounded to a scale point. ";

function cumulative(shares) {
  let sum = 0;
  return shares.map((share) => (sum += share));
}

function cdfLine(x, shares, smooth, name, line) {
  return {
    type: "scatter",
    mode: "lines",
    name,
    x,
    y: shares.map((share) => 100 * share),
    line: { ...line, shape: smooth ? "linear" : "hv" },
    hovertemplate: `%{y:.1f} %: ${name} %{x} or lower<extra></extra>`,
  };
}

function bandTraces(data, smooth) {
  const edge = (shares) => ({ ...cdfLine(data.opinions, shares, smooth, "theta band", { width: 0 }), hoverinfo: "skip", hovertemplate: null });
  return [
    { ...edge(data.lower), showlegend: false },
    { ...edge(data.upper), fill: "tonexty", fillcolor: faded("mos", 0.25) },
  ];
}

const marker = (x, name, dash) => ({ type: "line", x0: x, x1: x, y0: 0, y1: 100, line: { color: colour(name), width: 2, dash } });

// Above the plot, where no curve can cover it.
const note = (x, xanchor, text) => ({ x, y: 1, yref: "paper", yanchor: "bottom", xanchor, text, showarrow: false });
