// The state of the page in the address after the #, so that a link shows another user the same.

import { defaultRows } from "./pager.js";

const DEFAULTS = {
  by: "",
  filter: "",
  sort: "excess",
  order: "desc",
  window: "",
  offset: "0",
  rows: defaultRows(),
  empty: "false",
  range: "",
  from: "",
  to: "",
  compare: "false",
};
const LABEL = "label.";

export function read() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const state = { group: null };
  for (const [name, value] of Object.entries(DEFAULTS)) state[name] = parameters.get(name) ?? value;
  if (parameters.has("service")) {
    const prefixed = [...parameters].filter(([name]) => name.startsWith(LABEL));
    const labels = prefixed.map(([name, value]) => [name.slice(LABEL.length), value]);
    state.group = { service: parameters.get("service"), labels: Object.fromEntries(labels) };
  }
  return state;
}

// newEntry: whether the browser's Back button returns to the state before.
export function write(state, { newEntry = false } = {}) {
  const parameters = new URLSearchParams(state.group ? groupQuery(state.group) : "");
  for (const [name, value] of Object.entries(DEFAULTS)) if (state[name] !== value) parameters.set(name, state[name]);
  const hash = `#${parameters}`;
  if (hash !== (location.hash || "#")) history[newEntry ? "pushState" : "replaceState"](null, "", hash);
}

export function groupQuery(group) {
  const query = new URLSearchParams({ service: group.service });
  for (const [name, value] of Object.entries(group.labels)) query.set(LABEL + name, value);
  return query;
}

// The query for everything on the page, so that all of it is of one tick. group: the one to show in full, or null.
export function pageQuery(state, group) {
  const query = group ? groupQuery(group) : new URLSearchParams();
  for (const name of ["sort", "order", "offset", "empty"]) query.set(name, state[name]);
  query.set("limit", state.rows);
  for (const name of ["by", "filter", "window"]) if (state[name]) query.set(name, state[name]);
  return query;
}
