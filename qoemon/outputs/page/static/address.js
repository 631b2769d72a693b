// What is looked at, in the address after the #: a link shows a colleague the same.

const DEFAULTS = { filter: "", sort: "state", order: "desc", window: "" };
const LABEL = "label.";

export function read() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const state = { group: null };
  for (const [name, value] of Object.entries(DEFAULTS)) state[name] = asked.get(name) ?? value;
  if (asked.has("service")) {
    const labels = [...asked].filter(([name]) => name.startsWith(LABEL));
    const named = labels.map(([name, value]) => [name.slice(LABEL.length), value]);
    state.group = { service: asked.get("service"), labels: Object.fromEntries(named) };
  }
  return state;
}

export function write(state, { remember = false } = {}) {
  const told = new URLSearchParams(state.group ? groupQuery(state.group) : "");
  for (const [name, value] of Object.entries(DEFAULTS)) if (state[name] !== value) told.set(name, state[name]);
  const hash = `#${told}`;
  if (hash !== (location.hash || "#")) history[remember ? "pushState" : "replaceState"](null, "", hash);
}

export function groupQuery(group) {
  const query = new URLSearchParams({ service: group.service });
  for (const [name, value] of Object.entries(group.labels)) query.set(LABEL + name, value);
  return query;
}

export function tableQuery(state) {
  const query = new URLSearchParams({ sort: state.sort, order: state.order });
  if (state.filter) query.set("filter", state.filter);
  if (state.window) query.set("window", state.window);
  return query;
}
