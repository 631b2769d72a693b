// The selected group: its values, charts, alerts and changes.

import { showChanges } from "./alertlist.js";
import { badge } from "./badge.js";
import { conditions } from "./conditions.js";
import { byId, el } from "./dom.js";
import { showGroupFeed } from "./feed.js";
import { linkList } from "./links.js";
import { trendText } from "./moments.js";
import { opinion, shares } from "./overtime.js";
import { Chart } from "./plot.js";
import { cdf, distribution } from "./ratings.js";
import { Timeline } from "./timeline.js";
import { FACTORS, fullGroupName, intervalText, level, percent, reason, score, sinceText, whole, windowText } from "./words.js";

const ofTick = (spec) => (detail) => detail && spec(detail);
const overTime = (spec) => (_, view) => spec(view);

const CHARTS = {
  "chart-shares": overTime(shares),
  "chart-ratings": ofTick(distribution),
  "chart-conditions": ofTick(conditions),
  "chart-opinion": overTime(opinion),
  "chart-cdf": ofTick(cdf),
};

export class Detail {
  // onZoom(from_s, to_s): the user chose a part of the time axis by dragging.
  constructor(onZoom) {
    this._timeline = new Timeline(() => this.draw());
    this._charts = Object.keys(CHARTS).map((name) => new Chart(name, onZoom));
    byId("charts").prepend(...this._charts.map((chart) => chart.figure));
  }

  // state: of the page; group: the one that was asked for; detail: its data, null if it is unknown; time_s: of the tick.
  // Resolves when the charts are drawn.
  show(state, group, detail, time_s) {
    [this._detail, this._drawable] = [detail, true];
    this._timeline.ask(state, group, detail, time_s);
    for (const name of ["figures", "changes"]) byId(name).hidden = detail === null;
    if (detail === null) this._showUnknown(group);
    else this._showKnown(detail);
    return this.draw();
  }

  _showKnown(detail) {
    const firing = detail.alerts.filter((alert) => alert.state === "firing").length;
    const name = el("span", {}, fullGroupName(detail.service, detail.group.labels));
    byId("detail-title").replaceChildren(name, badge(detail.group.state, detail.group.regime, firing));
    byId("group-links").replaceChildren(...[linkList(detail.links)].filter(Boolean));
    showGroupFeed(detail);
    byId("figures").replaceChildren(...values(detail).map(tile));
    showChanges(detail);
  }

  _showUnknown(group) {
    byId("detail-title").replaceChildren(el("span", {}, fullGroupName(group.service, group.labels)));
    byId("group-links").replaceChildren("Unknown group: it has sent no report since the daemon started.");
    byId("group-feed").hidden = true;
  }

  // Redraws the same data, for instance after a change of the theme. All charts at once: they are of one tick.
  async draw() {
    if (!this._drawable) return;
    const view = this._timeline.view();
    await Promise.all(Object.values(CHARTS).map((spec, i) => this._charts[i].draw(spec(this._detail, view))));
  }
}

const tile = ([term, value, more, hint = null]) =>
  el("div", { title: hint }, el("span", {}, term), el("b", {}, value), el("small", {}, more));

// [name, value, explanation, hint] of each tile.
function values(detail) {
  const { group } = detail;
  const ratings = group.windows[detail.window];
  const window = windowText(detail.window);
  const regime = group.regime;
  const ci = `${level(detail.confidence)} CI`;
  const tiles = ratings
    ? [
        ["PoW, poor or worse", percent(ratings.pow), withTrend(`${ci} ${intervalText(ratings.pow_bounds)}`, detail)],
        ["poor users", whole(ratings.pow * ratings.users), `of ${whole(ratings.users)} in the last ${window}`],
        ["GoB, good or better", percent(ratings.gob), `${ci} ${intervalText(ratings.gob_bounds)}`],
        [`MOS, of ${detail.scale.high}`, score(ratings.mos), `${ci} ${intervalText(ratings.mos_bounds, score)}`],
      ]
    : [["PoW, poor or worse", "–", `no data in the last ${window}`]];
  tiles.push(["stalled now", whole(group.open_stalls), longest(group), `of ${whole(group.active_sessions)} active sessions`]);
  if (group.media_quality_mos != null) tiles.push(["media quality", score(group.media_quality_mos), "MOS without stalls", unmeasured(group)]);
  if (regime?.regime) tiles.push(["regime", regime.regime, joined(sinceText(regime.since_s, detail.time_s), moving(regime))]);
  const contributions = Object.entries(group.pow_contribution);
  return [...tiles, ...contributions.flatMap(([name, share]) => contribution(name, share, windowText(detail.base_window)))];
}

// Why the regime may change soon: otherwise "good" beside a firing alert looks like a mistake.
const moving = ({ reason: why }) => (["dwell", "change_pending", "within_hysteresis"].includes(why) ? reason(why) : "");

const unmeasured = ({ sessions_without_measures: sessions }) =>
  sessions ? `${whole(sessions)} more sessions are not rated: they never reported measures` : null;

const joined = (...texts) => texts.filter(Boolean).join("; ");

const withTrend = (text, { trend, time_s }) => joined(text, trendText(trend, time_s));

const longest = (group) => (group.open_stalls ? `the longest for ${Math.round(group.open_stall_oldest_s)} s` : "");

function contribution(name, share, window) {
  if (!(name in FACTORS) || share === null) return [];
  return [[`due to ${FACTORS[name]}`, `${(100 * share).toFixed(1)} pt`, `of PoW in the last ${window}`]];
}
