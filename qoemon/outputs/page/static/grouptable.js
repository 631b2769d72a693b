// The table of groups. The daemon sorts and filters, so that thousands of groups cost the browser nothing.

import { badge } from "./badge.js";
import { byId, el, setText } from "./dom.js";
import { trendMark } from "./moments.js";
import { commonTop, sparkline } from "./sparkline.js";
import { fullGroupName, groupName, intervalText, level, percent, score, whole, windowText } from "./words.js";

const POW_HINT = "share of users who would rate poor or worse, with its confidence interval";
const GOB_HINT = "share of users who would rate good or better";
const EXCESS_HINT = "users who would rate poor or worse, beyond those who would even without impairments; of all poor users";
const USERS_HINT = "users with a rating in the window";

// sort: the API's sort key; first: the order that puts the worst first.
const COLUMNS = [
  { name: "group", sort: "name", first: "asc", cell: nameCell },
  { name: "state", sort: "state", first: "desc", cell: (row) => [badge(row.state, row.regime, row.firing)] },
  { name: "PoW", hint: POW_HINT, sort: "pow", first: "desc", cell: powCell },
  { name: "excess", hint: EXCESS_HINT, sort: "excess", first: "desc", cell: excessCell },
  { name: "GoB", hint: GOB_HINT, sort: "gob", first: "asc", cell: (row) => [percent(row.judged?.gob)] },
  { name: "MOS", hint: "mean opinion score", sort: "mos", first: "asc", cell: (row) => [score(row.judged?.mos)] },
  { name: "users", hint: USERS_HINT, sort: "users", first: "desc", cell: usersCell },
  { name: "PoW, last hour", cell: (row, answer) => [sparkline(answer.times_s, row.pow_trend, answer.top, answer.tick_s)] },
];

// The choices of the menu: the columns, and what has no column of its own.
const SORTS = [
  { title: "excess poor users", sort: "excess", first: "desc" },
  { title: "all poor users", sort: "poor_users", first: "desc" },
  { title: "PoW", sort: "pow", first: "desc" },
  { title: "GoB", sort: "gob", first: "asc" },
  { title: "MOS", sort: "mos", first: "asc" },
  { title: "users", sort: "users", first: "desc" },
  { title: "state", sort: "state", first: "desc" },
  { title: "name", sort: "name", first: "asc" },
];

// Also unique among the sums of several roll-ups.
export const keyOf = (group) => JSON.stringify([group.service, group.labels]);

// What a row is.
const noun = ({ by }, count) => (by ? "sum" : "group") + (count === 1 ? "" : "s");

export class GroupTable {
  // onSelect(group): a row was clicked; onChange({sort, order}, {filter} or {empty}): other rows were asked for.
  constructor(onSelect, onChange) {
    this._onSelect = onSelect;
    this._onChange = onChange;
    this._body = byId("table").tBodies[0];
    this._rows = new Map();
    this._heads = COLUMNS.map((column) => this._head(column));
    byId("table").tHead.rows[0].append(...this._heads);
    this._body.addEventListener("keydown", (event) => this._moveFocus(event));
    byId("sort").append(...SORTS.map(({ title, sort }) => new Option(title, sort)));
    byId("sort").addEventListener("change", ({ target }) => {
      const { sort, first } = SORTS.find(({ sort }) => sort === target.value);
      onChange({ sort, order: first });
    });
    byId("clear").addEventListener("click", () => onChange({ filter: "" }));
    byId("empty").addEventListener("click", () => onChange({ empty: String(!this._emptyShown) }));
  }

  // filter: the text that the rows match; empty: whether those without data are among them, "true" or "false".
  show(answer, selectedKey, { filter, empty }) {
    const top = commonTop(answer.rows.map((row) => row.pow_trend));
    this._markSorted(answer.sort, answer.order);
    const focused = document.activeElement?.closest("tr")?.dataset.key;
    const rows = answer.rows.map((row) => this._row(row, { ...answer, top }, keyOf(row) === selectedKey));
    this._rows = new Map(rows.map((row) => [row.dataset.key, row]));
    this._body.replaceChildren(...rows);
    if (focused) this._rows.get(focused)?.querySelector("button").focus({ preventScroll: true });
    this._showCounts(answer, top, filter);
    this._showEmpty(answer, empty === "true");
  }

  markSelected(selectedKey) {
    for (const [key, row] of this._rows) row.toggleAttribute("aria-current", key === selectedKey);
  }

  _showCounts(answer, top, filter) {
    const total = `${whole(answer.total)} ${noun(answer, answer.total)}`;
    setText(byId("count"), filter ? `${whole(answer.matching)} of ${total} match` : total);
    const lines = `Lines: PoW of the last ${windowText(answer.base_window)} over up to 1 h, from 0 to ${percent(top)}.`;
    setText(byId("table-source"), `Values: last ${windowText(answer.window)}, ${level(answer.confidence)} CI in grey. ${lines}`);
    byId("table-frame").hidden = answer.rows.length === 0;
    byId("none").hidden = answer.rows.length > 0;
    setText(byId("none-text"), noneText(answer, filter));
    byId("clear").hidden = !filter;
  }

  // Groups without data are folded into one line.
  _showEmpty(answer, shown) {
    const { empty } = answer;
    this._emptyShown = shown;
    const count = `${whole(empty)} ${noun(answer, empty)} without data`;
    setText(byId("empty"), empty ? `${shown ? "Hide" : "Show"} ${count}` : "");
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
    this._onChange({ sort: column.sort, order: again ? other : column.first });
  }

  _markSorted(sort, order) {
    [this._by, this._order] = [sort, order];
    byId("sort").value = sort;
    COLUMNS.forEach((column, i) => {
      if (!column.sort) return;
      this._heads[i].setAttribute("aria-sort", column.sort === sort ? `${order}ending` : "none");
    });
  }

  // Reuses the element of the same group, so that focus and pressed buttons survive an update.
  _row(row, answer, selected) {
    const key = keyOf(row);
    const group = { service: row.service, labels: row.labels };
    const line = this._rows.get(key) ?? el("tr", { "data-key": key, click: () => this._onSelect(group) });
    const cells = COLUMNS.map((column) => el("td", { "data-name": column.name }, ...column.cell(row, answer).filter(Boolean)));
    line.replaceChildren(...cells);
    line.toggleAttribute("aria-current", selected);
    line.classList.toggle("hit", row.firing > 0 || ["bad", "degraded"].includes(row.regime?.regime));
    return line;
  }

  // Arrow keys, Home and End move between rows; Enter and the space bar select, as with any button.
  _moveFocus(event) {
    const rows = [...this._body.rows];
    const current = rows.indexOf(event.target.closest("tr"));
    const next = { ArrowDown: current + 1, ArrowUp: current - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (next === undefined || !rows[next]) return;
    event.preventDefault();
    rows[next].querySelector("button").focus();
  }
}

function noneText(answer, filter) {
  if (filter) return `No ${noun(answer, 1)}${answer.empty ? " with data" : ""} matches "${filter}".`;
  return answer.total ? `No ${noun(answer, 1)} has data.` : "No groups: no report has been received.";
}

function nameCell(row) {
  const title = fullGroupName(row.service, row.labels);
  return [el("button", { type: "button", class: "name", title }, groupName(row.service, row.labels))];
}

function powCell(row, { time_s }) {
  const trend = trendMark(row.trend, time_s, { short: true });
  if (!row.judged) return ["–", trend];
  return [el("b", {}, percent(row.judged.pow)), el("small", {}, intervalText(row.judged.pow_bounds)), trend];
}

function excessCell(row) {
  if (!row.judged) return ["–"];
  return [el("b", {}, whole(row.excess)), el("small", {}, `of ${whole(row.poor_users)}`)];
}

function usersCell(row) {
  const observations = row.judged ? `${whole(row.judged.observations)} observations; ` : "";
  return [el("span", { title: `${observations}${whole(row.active_sessions)} sessions active now` }, whole(row.judged?.users))];
}
