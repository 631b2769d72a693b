// Figures, times and reasons as people say them.

const REASONS = {
  // of alerts
  no_data: "nobody could be judged",
  too_few_sessions: "too few sessions to tell",
  not_past_threshold: "the figure is not past its threshold",
  bound_not_past_threshold: "past the threshold, but not surely: its bound is not",
  thetas_disagree: "past the threshold, but not for every theta of the band",
  not_long_enough: "past the threshold surely, but not yet for long enough",
  past_threshold: "past the threshold, surely and for long enough",
  not_yet_recovered: "better than where it began, but not yet where it ends",
  recovered: "back on the good side of its threshold",
  gone: "the group is gone",
  // of regimes
  already_judged: "this rating interval was judged before",
  change_detected: "a change was established",
  learning: "still being learnt: too few rating intervals so far",
  threshold_passed: "the level stayed past a threshold, or this is the first regime",
  dwell: "past a threshold, but not yet for long enough",
  change_pending: "part of a change has been seen",
  within_hysteresis: "back below where it began, but not yet below where it ends",
  steady: "the level is steady",
};

export const FACTORS = {
  stall_count: "how often it stalls",
  stall_time: "how long stalls last",
  response_time: "how long responses take",
};

const FIGURES = { mos: "MOS", gob: "GoB", pow: "PoW", quantile: "quantile", open_stall_share: "share of open stalls" };

export const figureName = (what) => FIGURES[what] ?? what;

export const reason = (word) => REASONS[word] ?? String(word).replaceAll("_", " ");

const UNIT = "\u00a0%"; // Never torn from its figure.

const there = (value) => value != null && Number.isFinite(value);

export function percent(share) {
  if (!there(share)) return "–";
  const points = share * 100;
  return `${points.toFixed(points > 0 && points < 9.95 ? 1 : 0)}${UNIT}`;
}

export const score = (value) => (there(value) ? value.toFixed(2) : "–");

export function whole(value) {
  return there(value) ? Math.round(value).toLocaleString("en-US") : "–";
}

export const figure = (what, value) =>
  what === "mos" || what === "quantile" ? score(value) : percent(value);

export const bounds = (pair, told = percent) =>
  pair && there(pair[0]) ? `${told(pair[0]).replace(UNIT, "")}–${told(pair[1])}` : "";

export function clock(time_s, now_s = Date.now() / 1000) {
  const at = new Date(time_s * 1000);
  const time = at.toLocaleTimeString("en-GB");
  return Math.abs(now_s - time_s) < 72000 ? time : `${at.toLocaleDateString("en-CA")} ${time}`;
}

export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 100) return `${s}\u00a0s`;
  if (s < 6000) return `${Math.round(s / 60)}\u00a0min`;
  const hours = Math.floor(s / 3600);
  return hours < 48 ? `${hours} h ${Math.round((s % 3600) / 60)} min` : `${Math.round(s / 86400)} days`;
}

export const begun = (time_s, now_s) => (there(time_s) ? `${clock(time_s, now_s)} (${span(now_s - time_s)})` : "");

export const since = (time_s, now_s) => (there(time_s) ? `since ${begun(time_s, now_s)}` : "");

export const groupName = (service, labels) => `${service} ${Object.values(labels).map((v) => v || "–").join(" / ")}`;

export const groupInFull = (service, labels) =>
  [`service=${service}`, ...Object.entries(labels).map(([name, value]) => `${name}=${value}`)].join(", ");

export const zone = () => {
  const minutes = -new Date().getTimezoneOffset();
  const sign = minutes < 0 ? "−" : "+";
  const [h, m] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  return minutes === 0 ? "UTC" : `UTC${sign}${h}${m ? `:${String(m).padStart(2, "0")}` : ""}`;
};
