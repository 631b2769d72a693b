// What matters at three in the morning: who is hit, how many users, since when, and where to look.

import { badges } from "./badge.js";
import { byId, el, say } from "./dom.js";
import { FACTORS, groupInFull, groupName, percent, reason, since, whole } from "./words.js";

const MANY_STALL = 0.2; // From this share of sessions standing still on, that is what to tell.

export function showNow(told, choose) {
  const summary = told.summary;
  say(byId("headline"), headline(summary));
  say(byId("advice"), advice(summary, told.window));
  byId("now").classList.toggle("trouble", summary.hit_total > 0);
  byId("hit").replaceChildren(...summary.hit.map((hit) => item(hit, told, choose)));
  document.title = title(summary);
}

function title(summary) {
  if (summary.firing) return `(${summary.firing} firing) qoemon`;
  return summary.hit_total ? `(${summary.hit_total} hit) qoemon` : "qoemon";
}

const plural = (count, one, more) => (count === 1 ? one : more);

function headline(summary) {
  if (!summary.hit_total) return summary.users ? "No group is hit" : "Nobody to judge yet";
  const groups = summary.regimes.good + summary.regimes.degraded + summary.regimes.bad + summary.regimes.unknown;
  const users = `about ${whole(summary.hit_users)} users would rate poor or worse there`;
  return `${summary.hit_total} of ${groups} ${plural(groups, "group", "groups")} hit: ${users}`;
}

function advice(summary, window) {
  const share = `${whole(summary.poor_users)} of ${whole(summary.users)} users`;
  const ratio = percent(summary.poor_users / summary.users);
  const all = summary.users ? `Everywhere together ${share} (${ratio}) in the last ${window}.` : "";
  const shared = Object.entries(summary.shared).map(([name, value]) => `${name}=${value}`);
  const where = shared.length
    ? ` Look there first: every group that is hit has ${shared.join(" and ")}, and none that is well.`
    : "";
  const unknown = summary.regimes.unknown;
  const learning = unknown ? ` ${unknown} ${plural(unknown, "group has", "groups have")} no regime yet.` : "";
  return all + where + learning;
}

function item(hit, told, choose) {
  const group = { service: hit.service, labels: hit.labels };
  const title = groupInFull(hit.service, hit.labels);
  const button = { type: "button", class: "name", title, click: () => choose(group) };
  const name = el("button", button, groupName(hit.service, hit.labels));
  const users = Number.isFinite(hit.pow)
    ? el("b", {}, `${percent(hit.pow)} of ${whole(hit.users)} users`)
    : el("b", {}, "nobody to judge now");
  return el(
    "li",
    {},
    el("p", { class: "who" }, ...badges(hit.regime, hit.alerts.length), name, users, since(hit.since_s, told.time_s)),
    el("p", { class: "why" }, why(hit)),
    ...notes(hit),
  );
}

function why(hit) {
  const told = [];
  if (hit.alerts.length) told.push(`Fires: ${hit.alerts.join(", ")}.`);
  const stalled = hit.open_stalls / hit.active_sessions;
  if (stalled >= MANY_STALL) {
    const still = `${whole(hit.open_stalls)} of ${whole(hit.active_sessions)} sessions stand still`;
    told.push(`${still}, the longest for ${Math.round(hit.open_stall_oldest_s)} s.`);
  }
  const factors = Object.entries(hit.pow_contribution).filter(([name, share]) => name in FACTORS && share > 0.01);
  factors.sort((a, b) => b[1] - a[1]);
  if (factors.length) {
    const [name, share] = factors[0];
    told.push(`Mostly ${FACTORS[name]}: without that, ${Math.round(100 * share)} points less would rate poor.`);
  }
  if (!told.length && hit.regime) told.push(`Regime: ${reason(hit.regime.reason)}.`);
  return told.join(" ");
}

// What the operators themselves wrote down for this alert; an address becomes a link if it is one of the web.
function notes(hit) {
  return hit.annotations.flatMap((annotations) =>
    Object.entries(annotations).map(([name, text]) => el("p", { class: "note" }, el("span", {}, `${name}: `), link(text))),
  );
}

function link(text) {
  if (!/^https?:\/\/\S+$/.test(text)) return text;
  return el("a", { href: text, rel: "noopener noreferrer", target: "_blank" }, text);
}
