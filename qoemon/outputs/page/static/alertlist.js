// Alerts as a table, and what happened to a group as a list: what, where, since when, value and threshold, users, and
// the reason in words.

import { byId, el, table } from "./dom.js";
import { begun, clock, figure, figureName, groupName, reason, since, span, whole } from "./words.js";

const GLYPHS = { firing: "⚠", pending: "…", uncertain: "?", inactive: "–" };

const state = (alert) => el("span", { class: `state ${alert.state}` }, `${GLYPHS[alert.state] ?? ""} ${alert.state}`);

const value = (alert) => `${figureName(alert.what)} ${figure(alert.what, alert.value)}`;

const threshold = (alert) => `${figure(alert.what, alert.enter)}, ends at ${figure(alert.what, alert.leave)}`;

const surely = (alert) =>
  alert.surest === null || alert.surest === alert.value ? "" : ` (surely ${figure(alert.what, alert.surest)})`;

const groupButton = (group, choose) =>
  el("button", { type: "button", class: "name", click: () => choose(group) }, groupName(group.service, group.labels));

export function showAlerts(alerts, now_s, choose) {
  const rows = alerts.map((alert) => [
    state(alert),
    alert.alert,
    groupButton({ service: alert.service, labels: alert.labels }, choose),
    begun(alert.since_s, now_s),
    value(alert) + surely(alert),
    threshold(alert),
    whole(alert.users),
    reason(alert.reason),
  ]);
  const head = ["state", "alert", "group", "since", "value", "begins at", "users", "why"];
  const none = el("p", { class: "hint" }, "No alert fires, or is about to.");
  byId("alert-list").replaceChildren(rows.length ? table(head, rows, { class: "cards" }) : none);
}

// What holds now, then what happened, the newest first.
export function showChanges(detail) {
  const { time_s, alerts, changes, group } = detail;
  const regimes = group.regime ? [group.regime] : [];
  byId("change-list").replaceChildren(
    ...regimes.map((regime) => regimeEntry(regime, time_s)),
    ...alerts.map((alert) => alertEntry(alert, time_s)),
    ...changes.map((change) => entry(clock(change.time_s), what(change), reason(change.reason), began(change))),
  );
}

function regimeEntry(regime, now_s) {
  const name = `regime ${regime.regime ?? "not known yet"}`;
  return entry(since(regime.since_s, now_s) || "now", name, reason(regime.reason), counted(regime));
}

function alertEntry(alert, now_s) {
  const name = `${alert.alert} (${alert.severity}): ${alert.state}`;
  const figures = `${value(alert)}; begins at ${threshold(alert)}`;
  return entry(since(alert.since_s, now_s), name, reason(alert.reason), figures);
}

const entry = (when, title, why, more) =>
  el("li", {}, el("time", {}, when), el("b", {}, title), el("small", {}, [why, more].filter(Boolean).join("; ")));

const counted = (regime) =>
  `changes established: ${regime.changes.up} for the worse, ${regime.changes.down} for the better`;

function what(change) {
  if (change.what === "alert") return change.after === "firing" ? `${change.name} began to fire` : `${change.name} ended`;
  if (change.what === "regime") return `regime ${change.before} → ${change.after}`;
  return `change for the ${change.after}`;
}

const began = ({ began_s, time_s }) => (began_s ? `began ${clock(began_s)}, ${span(time_s - began_s)} before` : "");
