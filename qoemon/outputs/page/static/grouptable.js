// The table of groups: sorted and filtered by the daemon, so that thousands of groups cost the browser nothing.

import { badges } from "./badge.js";
import { byId, el, say } from "./dom.js";
import { commonTop, sparkline } from "./sparkline.js";
import { bounds, groupInFull, groupName, percent, score, whole } from "./words.js";

const POW_HINT = "share of users who would rate poor or worse, with its bounds";
const GOB_HINT = "share of users who would rate good or better";
const POOR_HINT = "PoW times users";

// sort: what the daemon calls it, and the order that shows the worst first.
const COLUMNS = [
  { name: "group", sort: "name", first: "asc", cell: nameCell },
  { name: "state", sort: "state", first: "desc", cell: (row) => badges(row.regime, row.firing) },
  { name: "PoW", hint: POW_HINT, sort: "pow", first: "desc", cell: powCell },
  { name: "poor users", hint: POOR_HINT, sort: "poor_users", first: "desc", cell: (row) => [whole(row.poor_users)] },
  { name: "GoB", hint: GOB_HINT, sort: "gob", first: "asc", cell: (row) => [percent(row.judged?.gob)] },
  { name: "MOS", hint: "mean opinion score", sort: "mos", first: "asc", cell: (row) => [score(row.judged?.mos)] },
  { name: "sessions", sort: "sessions", first: "desc", cell: (row) => [whole(row.active_sessions)] },
  { name: "PoW, last hour", cell: (row, told) => [sparkline(told.times_s, row.pow_trend, told.top)] },
];

export const keyOf = (group) => JSON.stringify([group.service, ...Object.values(group.labels)]);

export class GroupTable {
  // chosen(group) when a row is; sorted(sort, order) when a head is.
  constructor(chosen, sorted) {
    this._chosen = chosen;
    this._sorted = sorted;
    this._body = byId("table").tBodies[0];
    this._rows = new Map();
    this._heads = COLUMNS.map((column) => this._head(column));
    byId("table").tHead.rows[0].append(...this._heads);
    this._body.addEventListener("keydown", (event) => this._walk(event));
  }

  show(told, chosenKey) {
    const top = commonTop(told.rows.map((row) => row.pow_trend));
    this._mark(told.sort, told.order);
    const focused = document.activeElement?.closest("tr")?.dataset.key;
    const rows = told.rows.map((row) => this._row(row, { ...told, top }, keyOf(row) === chosenKey));
    this._rows = new Map(rows.map((row) => [row.dataset.key, row]));
    this._body.replaceChildren(...rows);
    if (focused) this._rows.get(focused)?.querySelector("button").focus({ preventScroll: true });
    this._tell(told, top);
  }

  mark(chosenKey) {
    for (const [key, row] of this._rows) row.toggleAttribute("aria-current", key === chosenKey);
  }

  _tell(told, top) {
    const total = `${whole(told.total)} groups`;
    const all = told.matching === told.total ? total : `${whole(told.matching)} of ${total} match`;
    const rest = told.matching > told.rows.length ? `; the first ${told.rows.length} are shown` : "";
    say(byId("count"), all + rest);
    const lines = `lines: PoW of the last ${told.base_window}, over up to an hour, from 0 to ${percent(top)}`;
    say(byId("table-source"), `Figures of the last ${told.window}; ${lines}.`);
  }

  _head(column) {
    const content = column.sort
      ? el("button", { type: "button", title: column.hint, click: () => this._sort(column) }, column.name)
      : column.name;
    return el("th", { scope: "col" }, content);
  }

  _sort(column) {
    const other = column.first === "asc" ? "desc" : "asc";
    const again = this._by === column.sort && this._order === column.first;
    this._sorted(column.sort, again ? other : column.first);
  }

  _mark(sort, order) {
    [this._by, this._order] = [sort, order];
    COLUMNS.forEach((column, i) => {
      if (!column.sort) return;
      this._heads[i].setAttribute("aria-sort", column.sort === sort ? `${order}ending` : "none");
    });
  }

  // The same row again where there was one: what has the focus keeps it, what is pressed stays pressed.
  _row(row, told, current) {
    const key = keyOf(row);
    const group = { service: row.service, labels: row.labels };
    const line = this._rows.get(key) ?? el("tr", { "data-key": key, click: () => this._chosen(group) });
    const cells = COLUMNS.map((column) => el("td", { "data-name": column.name }, ...column.cell(row, told)));
    line.replaceChildren(...cells);
    line.toggleAttribute("aria-current", current);
    line.classList.toggle("hit", row.firing > 0 || ["bad", "degraded"].includes(row.regime?.regime));
    return line;
  }

  // Arrow keys, Home and End go from row to row; Enter and the space bar choose, as with any button.
  _walk(event) {
    const rows = [...this._body.rows];
    const at = rows.indexOf(event.target.closest("tr"));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to === undefined || !rows[to]) return;
    event.preventDefault();
    rows[to].querySelector("button").focus();
  }
}

function nameCell(row) {
  const title = groupInFull(row.service, row.labels);
  return [el("button", { type: "button", class: "name", title }, groupName(row.service, row.labels))];
}

function powCell(row) {
  if (!row.judged) return ["–"];
  return [el("b", {}, percent(row.judged.pow)), el("small", {}, bounds(row.judged.pow_bounds))];
}
