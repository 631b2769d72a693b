// Which rows of the table are shown: steps through all of them, and how many at a time.

import { byId, setText } from "./dom.js";
import { whole } from "./words.js";

const SIZES = [10, 50, 200, 500];

// A phone shows few rows, as each is a card.
export const defaultRows = () => String(matchMedia("(max-width: 700px)").matches ? 10 : 50);

export class Pager {
  // onMove(offset), onResize(limit): the user chose other rows.
  constructor(onMove, onResize) {
    byId("previous").addEventListener("click", () => onMove(Math.max(0, this._offset - this._limit)));
    byId("next").addEventListener("click", () => onMove(this._offset + this._limit));
    byId("rows").append(...SIZES.map((size) => new Option(`${size} rows`, size)));
    byId("rows").addEventListener("change", (event) => onResize(event.target.value));
  }

  show({ offset, limit, matching, rows }) {
    [this._offset, this._limit] = [offset, limit];
    byId("pager").hidden = matching <= SIZES[0];
    setText(byId("range"), rows.length ? `${whole(offset + 1)}–${whole(offset + rows.length)} of ${whole(matching)}` : "");
    byId("previous").disabled = offset === 0;
    byId("next").disabled = offset + rows.length >= matching;
    byId("rows").value = limit;
  }
}
