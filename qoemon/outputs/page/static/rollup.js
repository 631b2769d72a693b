// Roll-ups: the table shows sums of groups by some labels instead of each group.

import { byId } from "./dom.js";

const WHOLE = "service"; // The API's name of the sum over all labels.

// The roll-up that a group or a sum is in; "" for a single group. labels: names of all labels.
export function byOf(group, labels) {
  const names = Object.keys(group.labels);
  return names.length === labels.length ? "" : names.join() || WHOLE;
}

export class RollUpMenu {
  constructor(onChoose) {
    byId("by").addEventListener("change", ({ target }) => onChoose(target.value));
  }

  show({ by, roll_ups }) {
    const names = ["", ...roll_ups, ...(by && !roll_ups.includes(by) ? [by] : [])];
    const menu = byId("by");
    menu.parentElement.hidden = names.length < 2;
    if (menu.dataset.names !== names.join(";")) {
      menu.dataset.names = names.join(";");
      menu.replaceChildren(...names.map((name) => new Option(title(name), name)));
    }
    menu.value = by;
  }
}

function title(name) {
  if (name === "") return "each group";
  return name === WHOLE ? "sum of each service" : `sums by ${name.replaceAll(",", ", ")}`;
}
