// The badge of a group's one state: it has a word and a glyph, so that no colour is needed. The regime is a detail.

import { el } from "./dom.js";
import { reason } from "./words.js";

const GLYPHS = { no_data: "✕", alert: "⚠", bad: "■", degraded: "▲", good: "●", too_few_users: "○", learning: "○" };
const WORDS = { bad: "BAD", degraded: "DEGRADED", good: "good", too_few_users: "too few users" };
const UNKNOWN = { state: "unknown", words: "no regime: the configuration's roll_ups do not name this sum" };

// firing: the number of alerts that fire on the group; a silent group continues to fire.
export function badge(state, regime, firing) {
  const { state: name, words } = state ?? UNKNOWN;
  const title = state ? [words, regimeText(regime)].filter(Boolean).join("; ") : words;
  const kind = firing ? "alert" : name;
  return el("span", { class: `badge ${kind}`, title }, `${GLYPHS[name] ?? "○"} ${text(name, words, firing)}`);
}

function text(name, words, firing) {
  if (name === "alert") return firing > 1 ? `${firing} ALERTS` : "ALERT";
  if (name === "no_data") return words.split(",")[0].replace(" for ", " ");
  if (name === "unknown") return "no regime";
  return WORDS[name] ?? words;
}

const regimeText = (regime) => (regime?.regime ? `regime ${regime.regime}: ${reason(regime.reason)}` : "no regime yet");
