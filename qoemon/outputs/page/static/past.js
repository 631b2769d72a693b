// The alerts that fired in the time range, of all groups, with their reasons: the newest first.

import { getJson, Question } from "./api.js";
import { byId, el, setText, table } from "./dom.js";
import { isLive, rangeOf } from "./range.js";
import { groupName, metricName, metricValue, reason, span, timeOfDay, whole } from "./words.js";

const REPEAT_S = 30;
const MOST_ROWS = 100; // Those shown of an answer.
const HEAD = ["alert", "group", "began", "fired", "lasted", "value", "worst", "why it fired", "why it ended"];

export class PastAlerts {
  // select(group): the user chose the group of an alert.
  constructor(select) {
    this._select = select;
    this._question = new Question(
      ({ from_s, to_s }) => getJson("alerts/history", new URLSearchParams({ from: Math.floor(from_s), to: Math.ceil(to_s) })),
      () => this._show(),
    );
  }

  // How long alerts and ratings are kept; null while that is unknown.
  get kept_s() {
    return this._kept_s ?? null;
  }

  // names: of all labels, in their order; time_s: of the tick.
  ask(state, names, time_s) {
    [this._range, this._names, this._now_s] = [rangeOf(state, time_s), names, time_s];
    const { name, problem } = this._range;
    setText(byId("past-title"), problem ? "" : `Alerts that fired, all groups, ${name}`);
    byId("past-list").hidden = Boolean(problem);
    if (problem) return;
    const { answer } = this._question;
    const known = answer?.alerts?.every((alert) => alert.ended_s !== null);
    const over = !isLive(state) && this._range.to_s < time_s - REPEAT_S && known;
    const key = JSON.stringify([state.range, state.from, state.to]);
    this._question.ask(key, this._range, time_s, over ? Infinity : REPEAT_S);
  }

  _show() {
    const { answer } = this._question;
    this._kept_s = answer.kept_s ?? this._kept_s;
    if (answer.problem) return this._replace(`Cannot show them: ${answer.problem}.`);
    const { alerts, more } = answer;
    const rows = alerts.slice(0, MOST_ROWS).map((alert) => this._row(alert));
    const left = alerts.length - rows.length;
    const note = left ? `${whole(left)}${more ? " or more" : ""} older ones are not shown: choose a shorter range.` : "";
    return this._replace(rows.length ? note : "None.", rows);
  }

  _replace(text, rows = []) {
    const cards = rows.length ? [table(HEAD, rows, { class: "cards" })] : [];
    byId("past-list").replaceChildren(...cards, ...(text ? [el("p", { class: "hint" }, text)] : []));
  }

  _row(alert) {
    const { service, metric, value, peak, users, began_s, fired_s, ended_s } = alert;
    const names = this._names.filter((name) => name in alert.labels);
    const group = { service, labels: Object.fromEntries(names.map((name) => [name, alert.labels[name]])) };
    const click = () => this._select(group);
    const size = users === null ? "no data" : `of ${whole(users)} ${metric === "model" ? "ratings" : "users"}`;
    return [
      `${alert.alert} (${alert.severity})`,
      el("button", { type: "button", class: "name", click }, groupName(service, group.labels)),
      began_s === null ? "–" : timeOfDay(began_s),
      timeOfDay(fired_s),
      ended_s === null ? `${span(this._now_s - fired_s)}, still firing` : span(ended_s - fired_s),
      el("span", { title: size }, value === null ? "–" : `${metricName(metric)} ${metricValue(metric, value)}`),
      peak === null ? "–" : metricValue(metric, peak),
      reason(alert.reason),
      ended_s === null ? "" : reason(alert.ended_reason),
    ];
  }
}
