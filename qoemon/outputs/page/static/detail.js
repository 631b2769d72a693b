// The chosen group: its figures, its charts, what happened to it.

import { showChanges } from "./alertlist.js";
import { badges } from "./badge.js";
import { conditions } from "./conditions.js";
import { byId, el } from "./dom.js";
import { opinion, shares } from "./hour.js";
import { Chart } from "./plot.js";
import { cdf, distribution } from "./ratings.js";
import { FACTORS, bounds, groupInFull, percent, score, since, whole } from "./words.js";

const CHARTS = {
  "chart-shares": shares,
  "chart-ratings": distribution,
  "chart-conditions": conditions,
  "chart-opinion": opinion,
  "chart-cdf": cdf,
};

export class Detail {
  constructor() {
    this._charts = Object.keys(CHARTS).map((name) => new Chart(name));
    byId("charts").prepend(...this._charts.map((chart) => chart.place));
  }

  async show(detail) {
    this._detail = detail;
    const firing = detail.alerts.filter((alert) => alert.state === "firing").length;
    const name = el("span", {}, groupInFull(detail.service, detail.group.labels));
    byId("detail-title").replaceChildren(name, ...badges(detail.group.regime, firing));
    byId("figures").replaceChildren(...figures(detail).map(tile));
    showChanges(detail);
    await this.draw();
  }

  // Again with the same figures: the theme or the room has changed.
  async draw() {
    if (!this._detail) return;
    for (const [i, spec] of Object.values(CHARTS).entries()) await this._charts[i].draw(spec(this._detail));
  }
}

const tile = ([term, value, more]) => el("div", {}, el("span", {}, term), el("b", {}, value), el("small", {}, more));

function figures(detail) {
  const { group, window } = detail;
  const judged = group.windows[window];
  const regime = group.regime;
  const told = judged
    ? [
        ["PoW", percent(judged.pow), `${bounds(judged.pow_bounds)}, poor or worse`],
        ["poor users", whole(judged.pow * judged.users), `of ${whole(judged.users)} in the last ${window}`],
        ["GoB", percent(judged.gob), `${bounds(judged.gob_bounds)}, good or better`],
        ["MOS", score(judged.mos), `${bounds(judged.mos_bounds, score)}, of ${detail.scale.high}`],
      ]
    : [["PoW", "–", `nobody to judge in the last ${window}`]];
  told.push(["sessions", whole(group.active_sessions), `${whole(group.open_stalls)} in a stall right now${longest(group)}`]);
  if (regime?.regime) told.push(["regime", regime.regime, since(regime.since_s, detail.time_s)]);
  return [...told, ...Object.entries(group.pow_contribution).flatMap(contribution)];
}

const longest = (group) => (group.open_stalls ? `, the longest for ${Math.round(group.open_stall_oldest_s)} s` : "");

function contribution([name, share]) {
  if (!(name in FACTORS) || share === null) return [];
  return [[`PoW due to ${name.replace("_", " ")}`, `${(100 * share).toFixed(1)} pt`, FACTORS[name]]];
}
