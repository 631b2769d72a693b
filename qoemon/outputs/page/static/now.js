// The summary: which groups are affected, how many users, since when, and the likely cause.

import { badge } from "./badge.js";
import { byId, el, setText } from "./dom.js";
import { linked, linkList } from "./links.js";
import { beganText, trendMark } from "./moments.js";
import { FACTORS, fullGroupName, groupName, percent, reason, whole, windowText } from "./words.js";

const MANY_STALLED = 0.2; // Share of sessions from which open stalls are mentioned.

export function showNow(answer, select) {
  const summary = answer.summary;
  setText(byId("headline"), headline(summary));
  setText(byId("advice"), advice(summary, answer.window));
  byId("now").classList.toggle("trouble", summary.hit_total > 0 || summary.services.some((one) => silent(one) || one.sums.length));
  byId("hit").replaceChildren(...summary.hit.map((affected) => item(affected, answer, select)));
  document.title = title(summary);
}

function title(summary) {
  if (summary.firing) return `(${summary.firing} firing) qoemon`;
  return summary.hit_total ? `(${summary.hit_total} affected) qoemon` : "qoemon";
}

const plural = (count, one, more) => (count === 1 ? one : more);

function headline(summary) {
  const calm = summary.services.some((one) => one.users) ? "No group is affected" : "No data; no sessions in this window";
  return summary.services.flatMap(trouble).join("; ") || calm;
}

// What is wrong with one service: it is silent, groups are affected, or an alert fires on a sum of groups.
function trouble(one) {
  if (silent(one)) return [`No data from service ${one.service}${one.state.words.slice("no data".length)}`];
  const affected = one.hit_groups ? [`${groupCount(one)} affected, ${userCount(one)}`] : [];
  const sums = one.sums.map((sum) => `alert ${sum.alert}${sumName(sum.labels)}`);
  const found = [...affected, ...sums].join(", ");
  return found ? [`${one.service}: ${found}`] : [];
}

// A service that has never sent a report is not in trouble.
const silent = ({ state }) => state?.state === "no_data" && state.since_s !== null;

function sumName(labels) {
  const names = Object.entries(labels).map(([name, value]) => `${name}=${value}`);
  return names.length ? ` on ${names.join(", ")}` : " on the whole service";
}

const groupCount = ({ hit_groups, groups }) => `${hit_groups} of ${groups} ${plural(groups, "group", "groups")}`;

const userCount = ({ poor_users, users }) => `${whole(poor_users)} of ${whole(users)} users`;

function advice(summary, window) {
  const rated = summary.services.filter((one) => one.users);
  const poor = rated.map((one) => `${one.service} ${userCount(one)} (${percent(one.poor_users / one.users)})`);
  const several = summary.where_first.length > 1;
  const { learning, too_few_users: few } = summary.states;
  const sentences = [
    poor.length ? `Users who would rate poor or worse in the last ${windowText(window)}: ${poor.join("; ")}.` : "",
    ...summary.where_first.map((found) => (several ? `${found.service}: ${found.text}` : found.text)),
    few ? `${few} ${plural(few, "group has", "groups have")} too few users for a regime.` : "",
    learning ? `${learning} ${plural(learning, "group has", "groups have")} no regime yet.` : "",
  ];
  return sentences.filter(Boolean).join(" ");
}

function item(affected, answer, select) {
  const group = { service: affected.service, labels: affected.labels };
  const title = fullGroupName(affected.service, affected.labels);
  const button = { type: "button", class: "name", title, click: () => select(group) };
  const name = el("button", button, groupName(affected.service, affected.labels));
  const users = Number.isFinite(affected.pow) ? `PoW ${percent(affected.pow)}, ${whole(affected.users)} users` : "no data";
  const start = beganText(affected, answer.time_s);
  const trend = trendMark(affected.trend, answer.time_s);
  return el(
    "li",
    {},
    el("p", { class: "who" }, badge(affected.state, affected.regime, affected.alerts.length), name, el("b", {}, users), trend, start),
    el("p", { class: "why" }, causes(affected, answer.window === answer.base_window)),
    ...annotationLines(affected),
    linkList(affected.links),
  );
}

// samePow: whether PoW and its contributions are of the same window, and can be compared.
function causes(affected, samePow) {
  const sentences = [];
  if (affected.alerts.length) sentences.push(`Firing: ${affected.alerts.join(", ")}.`);
  if (affected.open_stalls / affected.active_sessions >= MANY_STALLED) {
    const stalled = `${whole(affected.open_stalls)} of ${whole(affected.active_sessions)} sessions are stalled`;
    sentences.push(`${stalled}, the longest for ${Math.round(affected.open_stall_oldest_s)} s.`);
  }
  const factors = Object.entries(affected.pow_contribution).filter(([name, share]) => name in FACTORS && share > 0.01);
  factors.sort((a, b) => b[1] - a[1]);
  if (factors.length) {
    const [name, share] = factors[0];
    const total = samePow && Number.isFinite(affected.pow) ? ` of ${Math.round(100 * affected.pow)}` : "";
    sentences.push(`Main cause: ${FACTORS[name]} (${Math.round(100 * share)}${total} points of PoW).`);
  }
  if (!sentences.length && affected.regime) sentences.push(`Regime: ${reason(affected.regime.reason)}.`);
  return sentences.join(" ");
}

// The annotations of the firing alerts; a web address becomes a link.
function annotationLines(affected) {
  return affected.annotations.flatMap((annotations) =>
    Object.entries(annotations).map(([name, text]) => el("p", { class: "note" }, el("span", {}, `${name}: `), linked(text))),
  );
}
