// What the charts over time show: the last hour, which comes with each tick, or a time range from the history.

import { getJson, Question } from "./api.js";
import { liveView } from "./overtime.js";
import { isLive, rangeOf } from "./range.js";
import { intervalText, level, percent, score, span, whole } from "./words.js";

const DAY_S = 86400;
const REPEAT_S = 30; // Of a range that is not over, or after a failure; steps may be longer.
const COLUMNS = ["mos", "gob", "pow", "pow_lower", "pow_upper", "users"];
const PARAMETERS = ["service", "from", "to", "step", "by", "format"]; // A label of such a name cannot be a filter.

// The query for the figures of a group, or of a sum of groups, in a range.
function historyQuery({ service, labels }, { from_s, to_s }, more = {}) {
  const query = new URLSearchParams({ service, from: Math.floor(from_s), to: Math.ceil(to_s), ...more });
  if (Object.keys(labels).length) query.set("by", Object.keys(labels).join());
  for (const [name, value] of Object.entries(labels)) if (!PARAMETERS.includes(name)) query.set(name, value);
  return query;
}

export const csvUrl = (group, range) =>
  range.problem ? "" : `api/v1/history?${historyQuery(group, range, { format: "csv" })}`;

export class Timeline {
  // onLoaded(): an answer has arrived, and view() is another.
  constructor(onLoaded) {
    this._question = new Question(load, onLoaded);
  }

  // detail: the group's last hour, null if the group is unknown; time_s: of the tick.
  ask(state, group, detail, time_s) {
    const live = isLive(state) && detail !== null && detail.past.times_s.length > 0;
    const [range, compare] = [rangeOf(state, time_s), state.compare === "true"];
    Object.assign(this, { _live: live, _range: range, _detail: detail, _compare: compare });
    if (range.problem || (live && !compare)) return;
    const { from, to } = state;
    const key = JSON.stringify([group, state.range, from, to, compare, live]);
    this._question.ask(key, { group, range, compare, live }, time_s, this._repeat_s(time_s));
  }

  _repeat_s(time_s) {
    const { answer } = this._question;
    if (!answer || answer.problem || this._live) return REPEAT_S;
    return this._range.to_s < time_s - REPEAT_S ? Infinity : Math.max(REPEAT_S, answer.main.step_s);
  }

  // What the charts draw, see overtime.js.
  view() {
    const { name, problem } = this._range;
    const answer = this._live && !this._compare ? {} : this._question.answer;
    const before = answer?.before ?? null;
    if (this._live) return { ...liveView(this._detail), before, remark: answer?.remark };
    if (problem || answer?.problem) return { name, problem: sentence(problem ?? answer.problem) };
    if (!answer) return { name, problem: "Loading …" };
    return { ...rangeView(answer, this._range), changes: this._detail?.changes ?? [], name, before };
  }
}

async function load({ group, range, compare, live }) {
  const dayBefore = { from_s: range.from_s - DAY_S, to_s: range.to_s - DAY_S };
  const [main, before] = await Promise.all([
    live ? null : getJson("history", historyQuery(group, range)),
    compare ? getJson("history", historyQuery(group, dayBefore)).catch((error) => ({ problem: error.message })) : null,
  ]);
  const past = before && !before.problem ? pastOf(before, group, DAY_S) : null;
  const known = past?.pow.some((value) => value != null);
  const why = before?.problem ?? (before && !known ? "no data" : "");
  return {
    main: main && { ...main, past: pastOf(main, group, 0), total: seriesOf(main, group)?.total },
    before: known ? { past, tick_s: before.step_s } : null,
    remark: why && `The day before: ${why}.`,
  };
}

const seriesOf = (answer, { labels }) =>
  answer.series.find((one) => Object.entries(labels).every(([name, value]) => (one.labels[name] ?? value) === value));

// The figures over time, with times shifted by so many seconds.
function pastOf(answer, group, shift_s) {
  const series = seriesOf(answer, group);
  const columns = COLUMNS.map((name) => [name, series?.[name] ?? answer.times_s.map(() => null)]);
  return { times_s: answer.times_s.map((time_s) => time_s + shift_s), ...Object.fromEntries(columns) };
}

function rangeView({ main, remark }, { from_s, to_s }) {
  const { past, step_s, scale, confidence, total } = main;
  const source = [`Resolution ${span(step_s)}; ${keptText(main)}.`, remark].filter(Boolean).join(" ");
  return { past, tick_s: step_s, scale, confidence, from_s, to_s, source, totals: total && totals(total, confidence) };
}

const totals = (total, confidence) => ({
  shares: `Whole range: PoW ${percent(total.pow)} (${level(confidence)} CI ${intervalText([total.pow_lower, total.pow_upper])}), ${whole(total.users)} users.`,
  opinion: `Whole range: MOS ${score(total.mos)} (${level(confidence)} CI ${intervalText([total.mos_lower, total.mos_upper], score)}).`,
});

function keptText({ kept_s, fine_s, block_s }) {
  const coarser = kept_s > fine_s ? `, ${span(block_s)} beyond ${span(fine_s)}` : "";
  return `kept for ${span(kept_s)}${coarser}`;
}

// A text of the API as a sentence.
const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1).replace(/[.\s]+$/, "")}.`;
