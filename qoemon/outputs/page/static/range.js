// The time range of the charts over time and of the list of past alerts: the last hour, live, or any other.

import { byId, setText } from "./dom.js";
import { timeOfDay } from "./words.js";

const HOUR_S = 3600;
const LEAST_S = 60; // Of a range chosen by dragging.
const LENGTHS_S = { "6h": 6 * HOUR_S, "24h": 24 * HOUR_S, "7d": 7 * 24 * HOUR_S, "30d": 30 * 24 * HOUR_S };
const NAMES = { "6h": "last 6 h", "24h": "last 24 h", "7d": "last 7 days", "30d": "last 30 days" };
const FREE = "free";
const MEMORY_ONLY = "Only the last hour is kept, in memory: the daemon has no state directory (state.dir), or state.history is 0s.";
const EXPECTED = "expected seconds since the epoch, or a time such as 2026-11-28T21:00:00Z";

export const isLive = (state) => !state.range && !state.from && !state.to;

// The range of the page's state: from_s, to_s, name; with `problem` if there is none.
export function rangeOf(state, now_s) {
  if (isLive(state)) return { from_s: now_s - HOUR_S, to_s: now_s, name: "last hour" };
  if (!state.from && !state.to) return relative(state.range, now_s);
  for (const name of ["from", "to"]) {
    if (state[name] && Number.isNaN(seconds(state[name]))) return { name: "", problem: `${name} is '${state[name]}', ${EXPECTED}` };
  }
  const to_s = state.to ? seconds(state.to) : now_s;
  const from_s = state.from ? seconds(state.from) : to_s - HOUR_S;
  return { from_s, to_s, name: `${moment(from_s)} to ${moment(to_s)}` };
}

function relative(range, now_s) {
  const length_s = LENGTHS_S[range];
  if (length_s) return { from_s: now_s - length_s, to_s: now_s, name: NAMES[range] };
  return { name: "", problem: `range is '${range}', expected one of ${Object.keys(LENGTHS_S).join(", ")}` };
}

const seconds = (text) => Math.round(/^\d{1,12}$/.test(text) ? Number(text) : Date.parse(text) / 1000);

const moment = (time_s) => timeOfDay(time_s).replace(/:00$/, "");

const text = (time_s) => `${new Date(1000 * time_s).toISOString().slice(0, 19)}Z`;

// The changes of the state that lead to a range; at least a minute, around the same middle.
export function chosen(from_s, to_s) {
  const more_s = Math.max(0, LEAST_S - (to_s - from_s)) / 2;
  return { range: "", from: text(Math.floor(from_s - more_s)), to: text(Math.ceil(to_s + more_s)) };
}

export class RangePicker {
  // onChoose(changes): changes of the state that the user chose.
  constructor(onChoose) {
    this._onChoose = onChoose;
    byId("span").options[0].after(...Object.entries(NAMES).map(([value, name]) => new Option(name, value)));
    byId("span").addEventListener("change", ({ target }) => this._choose(target.value));
    for (const id of ["from", "to"]) byId(id).addEventListener("change", () => this._chooseFree());
    byId("compare").addEventListener("change", ({ target }) => onChoose({ compare: String(target.checked) }));
  }

  // csv: address of the figures of the range; kept_s: how long the daemon keeps them, null while that is unknown.
  show(state, range, { csv, kept_s }) {
    this._range = range;
    const free = Boolean(state.from || state.to);
    byId("span").value = free ? FREE : state.range;
    byId("from-to").hidden = !free;
    for (const [id, time_s] of [["from", range.from_s], ["to", range.to_s]]) {
      if (free && document.activeElement !== byId(id)) byId(id).value = range.problem ? "" : local(time_s);
    }
    byId("compare").checked = state.compare === "true";
    byId("csv").href = csv;
    if (kept_s === null) return;
    for (const option of byId("span").options) option.disabled = LENGTHS_S[option.value] > Math.max(kept_s, HOUR_S);
    setText(byId("kept"), kept_s > HOUR_S ? "" : MEMORY_ONLY);
  }

  _choose(value) {
    if (value !== FREE) return this._onChoose({ range: value, from: "", to: "" });
    const { from_s, to_s } = this._range;
    return this._onChoose(chosen(from_s, to_s));
  }

  _chooseFree() {
    const [from_s, to_s] = ["from", "to"].map((id) => new Date(byId(id).value).getTime() / 1000);
    if (from_s && to_s) this._onChoose({ range: "", from: text(from_s), to: text(to_s) });
  }
}

// A time as an input field of local times has it.
function local(time_s) {
  const at = new Date(1000 * time_s);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}
