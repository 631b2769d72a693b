// When something began and fired, and for how long PoW has been rising or falling.

import { el } from "./dom.js";
import { span, timeOfDay } from "./words.js";

// Of an alert or an affected group: since when the threshold has been passed, and since when an alert has fired.
export function beganText({ began_s, fired_s }, now_s) {
  if (began_s == null) return "";
  const began = `began ${timeOfDay(began_s, now_s)} (${span(now_s - began_s)} ago)`;
  return fired_s == null ? began : `${began}, fired ${timeOfDay(fired_s, now_s)}`;
}

const ARROWS = { rising: "↗", falling: "↘" };

export const trendText = (trend, now_s) =>
  trend ? `${ARROWS[trend.direction]} ${trend.direction} for ${span(now_s - trend.since_s)}` : "";

// A mark for the trend of PoW; null without one.
export function trendMark(trend, now_s, { short = false } = {}) {
  if (!trend) return null;
  const text = trendText(trend, now_s);
  const shown = short ? `${ARROWS[trend.direction]} ${span(now_s - trend.since_s)}` : text;
  return el("span", { class: `trend ${trend.direction}`, title: `PoW ${text.slice(2)}` }, shown);
}
