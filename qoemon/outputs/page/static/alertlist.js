// The table of alerts, and the list of alerts and changes of one group.

import { byId, el, table } from "./dom.js";
import { groupName, metricName, metricValue, reason, since, sinceText, span, timeOfDay, whole } from "./words.js";

const GLYPHS = { firing: "⚠", pending: "…", uncertain: "?", inactive: "–" };

const state = (alert) => el("span", { class: `state ${alert.state}` }, `${GLYPHS[alert.state] ?? ""} ${alert.state}`);

const value = (alert) => `${metricName(alert.what)} ${metricValue(alert.what, alert.value)}${interval(alert)}`;

const thresholds = (alert) =>
  `${metricValue(alert.what, alert.enter)}, clears at ${metricValue(alert.what, alert.leave)}`;

// The end of the confidence interval that a rule compares with its threshold.
function interval(alert) {
  if (alert.surest === null || alert.surest === alert.value) return "";
  const end = alert.surest < alert.value ? "from" : "to";
  return ` (95 % CI ${end} ${metricValue(alert.what, alert.surest)})`;
}

const groupButton = (group, select) =>
  el("button", { type: "button", class: "name", click: () => select(group) }, groupName(group.service, group.labels));

export function showAlerts(alerts, now_s, select) {
  const rows = alerts.map((alert) => [
    state(alert),
    alert.alert,
    alert.sum ? groupName(alert.service, alert.labels) : groupButton({ service: alert.service, labels: alert.labels }, select),
    since(alert.since_s, now_s),
    value(alert),
    thresholds(alert),
    whole(alert.users),
    reason(alert.reason),
  ]);
  const head = ["state", "alert", "group", "since", "value", "fires at", "users", "reason"];
  const none = el("p", { class: "hint" }, "No alert is firing, pending or uncertain.");
  byId("alert-list").replaceChildren(rows.length ? table(head, rows, { class: "cards" }) : none);
}

// The current regime and alerts, then the changes of the last hour, newest first.
export function showChanges(detail) {
  const { time_s, alerts, changes, group } = detail;
  const regimes = group.regime ? [group.regime] : [];
  byId("change-list").replaceChildren(
    ...regimes.map((regime) => regimeEntry(regime, time_s)),
    ...alerts.map((alert) => alertEntry(alert, time_s)),
    ...changes.map((change) => entry(timeOfDay(change.time_s), title(change), reason(change.reason), began(change))),
  );
}

function regimeEntry(regime, now_s) {
  const name = `regime ${regime.regime ?? "unknown"}`;
  return entry(sinceText(regime.since_s, now_s) || "now", name, reason(regime.reason), changeCounts(regime));
}

function alertEntry(alert, now_s) {
  const name = `${alert.alert} (${alert.severity}): ${alert.state}`;
  const values = `${value(alert)}; fires at ${thresholds(alert)}`;
  return entry(sinceText(alert.since_s, now_s), name, reason(alert.reason), values);
}

const entry = (when, name, why, more) =>
  el("li", {}, el("time", {}, when), el("b", {}, name), el("small", {}, [why, more].filter(Boolean).join("; ")));

const changeCounts = (regime) => `changes detected: ${regime.changes.up} worse, ${regime.changes.down} better`;

function title(change) {
  if (change.what === "alert") return `${change.name} ${change.after === "firing" ? "started firing" : "resolved"}`;
  if (change.what === "regime") return `regime ${change.before} → ${change.after}`;
  return `PoW ${change.after}`;
}

const began = ({ began_s, time_s }) => (began_s ? `began ${timeOfDay(began_s)}, ${span(time_s - began_s)} earlier` : "");
