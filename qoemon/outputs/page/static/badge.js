// The regime of a group and whether an alert fires: a word and a glyph each, so that no colour is needed.

import { el } from "./dom.js";

const GLYPHS = { good: "●", degraded: "▲", bad: "■", unknown: "○" };
const WORDS = { good: "good", degraded: "DEGRADED", bad: "BAD", unknown: "learning" };

// An alert looks at the newest window, a regime at several rating intervals: while an alert fires, a regime that is
// still good is no comfort, and does not look like one.
export function badges(regime, firing) {
  const name = regime?.regime ?? "unknown";
  const quiet = firing && (name === "good" || name === "unknown");
  const text = `${GLYPHS[name] ?? "○"} ${WORDS[name] ?? name}`;
  const told = el("span", { class: `badge ${quiet ? "unknown" : name}`, title: "regime" }, text);
  return firing ? [firingBadge(firing), told] : [told];
}

function firingBadge(count) {
  const title = count === 1 ? "one alert fires" : `${count} alerts fire`;
  return el("span", { class: "badge firing", title }, count === 1 ? "⚠ ALERT" : `⚠ ${count} ALERTS`);
}
