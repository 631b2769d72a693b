// Ratings of users beside the predictions for the same sessions, a card for each service.

import { byId, el, setText } from "./dom.js";
import { axis, Chart, colour, margins, remPx } from "./plot.js";
import { ratingName } from "./ratings.js";
import { percent, score, whole } from "./words.js";

const BADGES = { off: ["degraded", "▲ model is off"], holds: ["good", "● model holds"] };
const NO_BADGE = ["too_few_users", "○ not checked"];

const CHARTS = { ratings: observed, classes: byClass };

export class Feedback {
  constructor() {
    this._cards = new Map();
  }

  // cards: of all services. Resolves when their charts are drawn.
  show(cards) {
    byId("feedback").hidden = cards.length === 0;
    const shown = cards.map((card) => this._of(card.service));
    if (shown.some(({ element }) => !element.isConnected)) byId("feedback-cards").replaceChildren(...shown.map(({ element }) => element));
    return Promise.all(cards.map((card, i) => shown[i].show(card)));
  }

  draw() {
    return Promise.all([...this._cards.values()].map((card) => card.draw()));
  }

  _of(service) {
    if (!this._cards.has(service)) this._cards.set(service, new Card(service));
    return this._cards.get(service);
  }
}

class Card {
  constructor(service) {
    this._badge = el("span", { class: "badge" });
    this._text = el("p", { class: "said" });
    this._counts = el("p", { hidden: true });
    this._charts = Object.entries(CHARTS).map(([name, spec]) => ({ spec, chart: new Chart(`feedback-${name}-${service}`) }));
    const charts = el("div", { class: "pair" }, ...this._charts.map(({ chart }) => chart.figure));
    this.element = el("article", { id: `feedback-${service}` }, el("h3", {}, el("span", {}, service), this._badge), this._text, this._counts, charts);
  }

  show(card) {
    this._card = card;
    this.element.classList.toggle("unrated", card.known === "nothing");
    const [kind, words] = BADGES[card.state] ?? NO_BADGE;
    this._badge.className = `badge ${kind}`;
    setText(this._badge, words);
    this._text.replaceChildren(...coded(card.text));
    setText(this._counts, card.known === "counts" ? countsText(card) : "");
    return this.draw();
  }

  async draw() {
    if (this._card) await Promise.all(this._charts.map(({ spec, chart }) => chart.draw(spec(this._card))));
  }
}

// Commands are between backticks.
const coded = (text) => text.split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part));

function countsText({ bars, scale }) {
  const counts = bars.labels.map((label, i) => [ratingName(label, scale), bars.ratings[i]]).filter(([, count]) => count);
  return `Ratings so far: ${counts.map(([name, count]) => `${name} × ${whole(count)}`.replaceAll(" ", "\u00a0")).join(", ")}.`;
}

const outlined = (name) => ({ color: colour(name), line: { width: 1.5, color: colour("text") } });

// Without line breaks in a date.
const period = (card) => card.period.replaceAll("-", "\u2011");

// The predictions are those for the sessions that were rated.
const source = ({ rated, days }) => `${whole(rated)} ratings on ${days} ${days === 1 ? "day" : "days"} and the predictions for their sessions`;

function observed(card) {
  if (card.known !== "compared") return null;
  const { labels, ratings, expected } = card.bars;
  const names = labels.map((label) => ratingName(label, card.scale));
  const share = (counts) => counts.map((count) => (100 * count) / card.rated);
  const x = labels.map((_, i) => i);
  const bar = { type: "bar", hovertemplate: "%{y:.1f} %<extra>%{fullData.name}</extra>" };
  return {
    title: `Ratings and expected ratings, ${period(card)}`,
    source: `${source(card)} (qoemon_feedback_ratings_total, qoemon_feedback_expected_ratings_total).`,
    traces: () => [
      { ...bar, name: "users rated", x, y: share(ratings), marker: outlined("mos") },
      { ...bar, name: "predicted", x, y: share(expected), marker: outlined("panel") },
    ],
    layout: () => ({
      bargap: 0.25,
      bargroupgap: 0.08,
      margin: margins(2),
      legend: { orientation: "h", traceorder: "normal", x: 0, xanchor: "left", y: 1, yref: "container", yanchor: "top" },
      xaxis: axis("rating, scale points", { tickvals: x, ticktext: names.map((name) => name.replace(" ", "<br>")), tickangle: labels.length > 5 ? -90 : 0 }),
      yaxis: axis("share of ratings, %", { rangemode: "tozero" }),
    }),
    table: {
      head: ["rating", "ratings", "share", "expected ratings", "expected share"],
      rows: names.map((name, i) => {
        const [count, more] = [ratings[i], expected[i]];
        return [name, whole(count), percent(count / card.rated), more.toFixed(1), percent(more / card.rated)];
      }),
    },
  };
}

// How much higher users rate than predicted, where the model predicts little and where it predicts much.
function byClass(card) {
  if (card.known !== "compared") return null;
  const { classes, scale } = card;
  const title = `Mean rating minus predicted mean, ${period(card)}`;
  if (classes.every(({ bias }) => bias === null)) return { title, problem: "Each class of predictions has too few ratings for a comparison." };
  const x = classes.map((_, i) => i);
  const reach = Math.max((scale.high - scale.low) / 8, ...classes.flatMap(({ bias, lower, upper }) => [bias, lower, upper].map(Math.abs)));
  return {
    title,
    source: `${source(card)}, by class of predicted MOS; whiskers are the confidence interval. A class with too few ratings has no point.`,
    traces: () => [
      {
        type: "scatter",
        mode: "markers",
        x,
        y: classes.map(({ bias }) => bias),
        marker: { size: 0.7 * remPx(), ...outlined("mos") },
        error_y: {
          type: "data",
          symmetric: false,
          array: classes.map(({ bias, upper }) => (upper === null ? null : upper - bias)),
          arrayminus: classes.map(({ bias, lower }) => (lower === null ? null : bias - lower)),
          color: colour("text"),
          thickness: 1.5,
        },
        hovertemplate: "%{y:+.2f}<extra></extra>",
      },
    ],
    layout: () => ({
      showlegend: false,
      xaxis: axis("predicted MOS", { tickvals: x, ticktext: classes.map(({ label, rated }) => `${label}<br>n ${whole(rated)}`), tickangle: 0, range: [-0.5, x.length - 0.5] }),
      yaxis: axis("difference, points", { range: [-1.1 * reach, 1.1 * reach], zeroline: true, zerolinewidth: 2, zerolinecolor: colour("muted") }),
    }),
    table: {
      head: ["predicted MOS", "ratings", "asked", "mean rating", "predicted mean", "difference", "interval"],
      rows: classes.map((one) => [one.label, whole(one.rated), whole(one.asked), score(one.mean), score(one.expected), signed(one.bias), interval(one)]),
    },
  };
}

const signed = (value) => (value === null ? "–" : `${value < 0 ? "−" : "+"}${score(Math.abs(value))}`);

const interval = ({ lower, upper }) => (lower === null ? "–" : `${signed(lower)} to ${signed(upper)}`);
