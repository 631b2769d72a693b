// The table of groups. The daemon sorts and filters, so that thousands of groups cost the browser nothing.

import { badges } from "./badge.js";
import { byId, el, setText } from "./dom.js";
import { commonTop, sparkline } from "./sparkline.js";
import { fullGroupName, groupName, intervalText, percent, score, whole, windowText } from "./words.js";

const POW_HINT = "share of users who would rate poor or worse, with its 95 % confidence interval";
const GOB_HINT = "share of users who would rate good or better";
const POOR_HINT = "number of users who would rate poor or worse: PoW times users";

// sort: the API's sort key; first: the order that puts the worst first.
const COLUMNS = [
  { name: "group", sort: "name", first: "asc", cell: nameCell },
  { name: "state", sort: "state", first: "desc", cell: (row) => badges(row.regime, row.firing) },
  { name: "PoW", hint: POW_HINT, sort: "pow", first: "desc", cell: powCell },
  { name: "poor users", hint: POOR_HINT, sort: "poor_users", first: "desc", cell: (row) => [whole(row.poor_users)] },
  { name: "GoB", hint: GOB_HINT, sort: "gob", first: "asc", cell: (row) => [percent(row.judged?.gob)] },
  { name: "MOS", hint: "mean opinion score", sort: "mos", first: "asc", cell: (row) => [score(row.judged?.mos)] },
  { name: "sessions", sort: "sessions", first: "desc", cell: (row) => [whole(row.active_sessions)] },
  { name: "PoW, last hour", cell: (row, answer) => [sparkline(answer.times_s, row.pow_trend, answer.top)] },
];

export const keyOf = (group) => JSON.stringify([group.service, ...Object.values(group.labels)]);

export class GroupTable {
  // onSelect(group): a row was clicked; onSort(sort, order): a column head was clicked.
  constructor(onSelect, onSort) {
    this._onSelect = onSelect;
    this._onSort = onSort;
    this._body = byId("table").tBodies[0];
    this._rows = new Map();
    this._heads = COLUMNS.map((column) => this._head(column));
    byId("table").tHead.rows[0].append(...this._heads);
    this._body.addEventListener("keydown", (event) => this._moveFocus(event));
  }

  show(answer, selectedKey) {
    const top = commonTop(answer.rows.map((row) => row.pow_trend));
    this._markSorted(answer.sort, answer.order);
    const focused = document.activeElement?.closest("tr")?.dataset.key;
    const rows = answer.rows.map((row) => this._row(row, { ...answer, top }, keyOf(row) === selectedKey));
    this._rows = new Map(rows.map((row) => [row.dataset.key, row]));
    this._body.replaceChildren(...rows);
    if (focused) this._rows.get(focused)?.querySelector("button").focus({ preventScroll: true });
    this._showCounts(answer, top);
  }

  markSelected(selectedKey) {
    for (const [key, row] of this._rows) row.toggleAttribute("aria-current", key === selectedKey);
  }

  _showCounts(answer, top) {
    const total = `${whole(answer.total)} groups`;
    const all = answer.matching === answer.total ? total : `${whole(answer.matching)} of ${total} match`;
    const rest = answer.matching > answer.rows.length ? `; first ${answer.rows.length} shown` : "";
    setText(byId("count"), all + rest);
    const lines = `Lines: PoW of the last ${windowText(answer.base_window)} over up to 1 h, from 0 to ${percent(top)}.`;
    setText(byId("table-source"), `Values: last ${windowText(answer.window)}, 95 % CI in grey. ${lines}`);
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
    this._onSort(column.sort, again ? other : column.first);
  }

  _markSorted(sort, order) {
    [this._by, this._order] = [sort, order];
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
    const cells = COLUMNS.map((column) => el("td", { "data-name": column.name }, ...column.cell(row, answer)));
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

function nameCell(row) {
  const title = fullGroupName(row.service, row.labels);
  return [el("button", { type: "button", class: "name", title }, groupName(row.service, row.labels))];
}

function powCell(row) {
  if (!row.judged) return ["–"];
  return [el("b", {}, percent(row.judged.pow)), el("small", {}, intervalText(row.judged.pow_bounds))];
}
