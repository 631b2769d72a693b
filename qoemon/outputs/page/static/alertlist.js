// The table of alerts, and the list of alerts and changes of one group.

import { byId, el, table } from "./dom.js";
import { linkList } from "./links.js";
import { beganText } from "./moments.js";
import { groupName, metricName, metricValue, percent, reason, sinceText, span, timeOfDay, whole } from "./words.js";

const GLYPHS = { firing: "⚠", pending: "…", uncertain: "?", inactive: "–" };

const state = (alert) => el("span", { class: `state ${alert.state}` }, `${GLYPHS[alert.state] ?? ""} ${alert.state}`);

function value(alert) {
  const name = metricName(alert.metric);
  if (alert.value === null && alert.silent_since_s !== null) return `${name}: no data since ${timeOfDay(alert.silent_since_s)}`;
  return `${name} ${metricValue(alert.metric, alert.value)}${interval(alert)}`;
}

function usersHint({ metric, users }) {
  if (users === null) return "no data";
  if (metric === "model") return `${whole(users)} ratings`;
  return ["absent", "drop"].includes(metric) ? `${whole(users)} sessions before` : `of ${whole(users)} users in the window of the rule`;
}

function thresholds({ metric, threshold, recovery }) {
  if (metric === "model") return "fires while ratings deviate from the predictions";
  const clears = metric === "absent" ? "when reports arrive" : `at ${metricValue(metric, recovery)}`;
  return `fires at ${metricValue(metric, threshold)}, clears ${clears}`;
}

// The bound that a rule compares with its threshold: at a confidence for all groups of the rule.
function interval(alert) {
  if (alert.surest === null || alert.surest === alert.value) return "";
  if (alert.metric === "drop") {
    return alert.surest < 0 ? " (within the usual variation)" : ` (${percent(alert.surest)} beyond the usual variation)`;
  }
  const end = alert.surest < alert.value ? "from" : "to";
  return ` (bound: ${end} ${metricValue(alert.metric, alert.surest)})`;
}

const groupButton = (group, select) =>
  el("button", { type: "button", class: "name", click: () => select(group) }, groupName(group.service, group.labels));

export function showAlerts(alerts, now_s, select) {
  const linked = alerts.some((alert) => alert.links.length);
  const rows = alerts.map((alert) => [
    state(alert),
    alert.alert,
    groupButton({ service: alert.service, labels: alert.labels }, select),
    beganText(alert, now_s),
    el("span", { title: usersHint(alert) }, value(alert)),
    thresholds(alert),
    reason(alert.reason),
    ...(linked ? [linkList(alert.links) ?? ""] : []),
  ]);
  const head = ["state", "alert", "group", "time", "value", "thresholds", "reason", ...(linked ? ["links"] : [])];
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
  const values = `${value(alert)}; ${thresholds(alert)}`;
  return entry(beganText(alert, now_s), name, reason(alert.reason), values, linkList(alert.links));
}

const entry = (when, name, why, more, links = null) =>
  el("li", {}, el("time", {}, when), el("b", {}, name), el("small", {}, [why, more].filter(Boolean).join("; ")), links);

const changeCounts = (regime) => `changes detected: ${regime.changes.up} worse, ${regime.changes.down} better`;

function title(change) {
  if (change.what === "alert") return `${change.name} ${change.after === "firing" ? "started firing" : "resolved"}`;
  if (change.what === "regime") return `regime ${change.before} → ${change.after}`;
  return `PoW ${change.after}`;
}

const began = ({ began_s, time_s }) => (began_s ? `began ${timeOfDay(began_s)}, ${span(time_s - began_s)} earlier` : "");
