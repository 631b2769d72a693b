// Badges for the regime and the firing alerts of a group: each has a word and a glyph, so that no colour is needed.

import { el } from "./dom.js";

const GLYPHS = { good: "●", degraded: "▲", bad: "■", unknown: "○" };
const WORDS = { good: "good", degraded: "DEGRADED", bad: "BAD", unknown: "learning" };

// An alert uses the newest window, a regime several rating intervals. While an alert fires, a regime that is still
// good would give a false impression, so its badge is muted.
export function badges(regime, firing) {
  const name = regime?.regime ?? "unknown";
  const muted = firing && (name === "good" || name === "unknown");
  const text = `${GLYPHS[name] ?? "○"} ${WORDS[name] ?? name}`;
  const badge = el("span", { class: `badge ${muted ? "unknown" : name}`, title: "regime" }, text);
  return firing ? [firingBadge(firing), badge] : [badge];
}

function firingBadge(count) {
  const title = count === 1 ? "1 alert is firing" : `${count} alerts are firing`;
  return el("span", { class: "badge firing", title }, count === 1 ? "⚠ ALERT" : `⚠ ${count} ALERTS`);
}
