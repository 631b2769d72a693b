// Numbers, times, names and reasons as text.

const REASONS = {
  // of alerts
  no_data: "no data",
  too_few_sessions: "too few sessions",
  not_past_threshold: "not beyond the threshold",
  bound_not_past_threshold: "beyond the threshold, but the threshold is within the confidence interval",
  thetas_disagree: "beyond the threshold, but not at every theta of the band",
  feed: "most reports of this group are impossible or of several players: see qoemon's log",
  catching_up: "a backlog of reports without a timestamp has arrived",
  not_long_enough: "beyond the threshold, but not yet for long enough",
  past_threshold: "beyond the threshold for long enough",
  not_yet_recovered: "recovering: between the thresholds for firing and clearing",
  recovered: "recovered: the threshold for clearing was reached",
  gone: "no sessions left in the group",
  idle: "the group was removed after a long time without reports",
  starting: "just started, connected again, or taken over: sessions or windows are not complete yet",
  not_connected: "not connected to the broker: no reports can arrive",
  rated_lower: "users rate lower than predicted",
  rated_higher: "users rate higher than predicted",
  rated_wider: "users disagree more than predicted",
  rated_narrower: "users disagree less than predicted",
  as_predicted: "users rate as predicted",
  too_few_ratings: "too few days with enough ratings",
  ended_today: "ended today: begins again on another day (UTC) at the earliest",
  // of regimes
  already_judged: "this rating interval was already evaluated",
  change_detected: "change detected",
  learning: "learning: too few rating intervals so far",
  threshold_passed: "the level stayed beyond a threshold, or this is the first regime",
  dwell: "beyond a threshold, but not yet for long enough",
  change_pending: "possible change, not confirmed yet",
  within_hysteresis: "recovering: between the thresholds for entering and leaving the regime",
  steady: "steady",
};

export const FACTORS = {
  media_quality: "media quality",
  stall_count: "stall count",
  stall_time: "stall duration",
  response_time: "response time",
};

const METRICS = {
  mos: "MOS",
  gob: "GoB",
  pow: "PoW",
  opinion_quantile: "opinion quantile",
  open_stall_share: "open stalls",
  absent: "no reports for",
  drop: "fewer sessions",
  model: "model",
};

export const metricName = (what) => METRICS[what] ?? what;

export const reason = (word) => REASONS[word] ?? String(word).replaceAll("_", " ");

const UNIT = "\u00a0%"; // With a no-break space.

const isNumber = (value) => value != null && Number.isFinite(value);

export function percent(share) {
  if (!isNumber(share)) return "–";
  const points = share * 100;
  return `${points.toFixed(points > 0 && points < 9.95 ? 1 : 0)}${UNIT}`;
}

// "95 %" of the confidence 0.95.
export const level = (confidence) => `${+(100 * confidence).toFixed(3)}${UNIT}`;

export const score = (value) => (isNumber(value) ? value.toFixed(2) : "–");

export function whole(value) {
  return isNumber(value) ? Math.round(value).toLocaleString("en-US") : "–";
}

export function metricValue(what, value) {
  if (what === "absent") return isNumber(value) ? span(value) : "–";
  if (what === "model") return isNumber(value) ? ["not off", "off"][value] : "–";
  return what === "mos" || what === "opinion_quantile" ? score(value) : percent(value);
}

export const intervalText = (bounds, format = percent) =>
  bounds && isNumber(bounds[0]) ? `${format(bounds[0]).replace(UNIT, "")}–${format(bounds[1])}` : "";

export function timeOfDay(time_s, now_s = Date.now() / 1000) {
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

// A window's name as text: "1 h 30 min" for "1h30m".
export const windowText = (name) =>
  name.replaceAll(/(\d+)(ms|d|h|m|s)/g, (_, n, unit) => `${n}\u00a0${unit === "m" ? "min" : unit} `).trim();

const since = (time_s, now_s) =>
  isNumber(time_s) ? `${timeOfDay(time_s, now_s)} (${span(now_s - time_s)})` : "";

export const sinceText = (time_s, now_s) => (isNumber(time_s) ? `since ${since(time_s, now_s)}` : "");

export const groupName = (service, labels) => `${service} ${Object.values(labels).map((v) => v || "–").join(" / ")}`;

export const fullGroupName = (service, labels) =>
  [`service=${service}`, ...Object.entries(labels).map(([name, value]) => `${name}=${value}`)].join(", ");

export const zone = () => {
  const minutes = -new Date().getTimezoneOffset();
  const sign = minutes < 0 ? "−" : "+";
  const [h, m] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  return minutes === 0 ? "UTC" : `UTC${sign}${h}${m ? `:${String(m).padStart(2, "0")}` : ""}`;
};
