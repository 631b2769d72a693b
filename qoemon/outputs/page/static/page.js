// The page: what is looked at (address), told of ticks (stream), asks for figures (API), and shows them.

import { groupQuery, read, tableQuery, write } from "./address.js";
import { showAlerts } from "./alertlist.js";
import { Detail } from "./detail.js";
import { byId, el, say } from "./dom.js";
import { GroupTable, keyOf } from "./grouptable.js";
import { showNow } from "./now.js";
import * as plot from "./plot.js";
import { Stream } from "./stream.js";
import { themeButton } from "./theme.js";
import { clock, span } from "./words.js";

const TYPING_MS = 200;

let state = read();
let following = null; // The group that is shown while nobody has chosen one.
const detail = new Detail();
const groups = new GroupTable(choose, (sort, order) => change({ sort, order }));

function choose(group) {
  state.group = group;
  write(state, { remember: true });
  groups.mark(keyOf(group));
  refresh();
}

function change(more) {
  Object.assign(state, more);
  write(state);
  refresh();
}

// One refresh at a time, and one more if something changed meanwhile: nobody is asked faster than they answer.
let running = false;
let again = false;

async function refresh() {
  again = true;
  if (running) return;
  running = true;
  while (again) {
    again = false;
    try {
      await load();
      trouble("");
    } catch (error) {
      trouble(`The daemon's answer cannot be shown: ${error.message}`);
    }
  }
  running = false;
}

async function load() {
  const told = await ask("groups", tableQuery(state));
  const group = shownGroup(told);
  problems = told.problems;
  windows(told);
  showNow(told, choose);
  groups.show(told, group && keyOf(group));
  showAlerts(told.alerts, told.time_s, choose);
  byId("detail").hidden = group === null;
  if (group) await detail.show(await ask("group", withWindow(groupQuery(group))));
}

function withWindow(query) {
  if (state.window) query.set("window", state.window);
  return query;
}

// The one chosen; else the worst one, which stays until another one is hit.
function shownGroup(told) {
  if (state.group) return state.group;
  const worst = told.summary.hit[0];
  const isHit = following && told.summary.hit.some((hit) => keyOf(hit) === keyOf(following));
  if (!following || (worst && !isHit)) {
    const from = worst ?? told.rows[0];
    following = from ? { service: from.service, labels: from.labels } : null;
  }
  return following;
}

async function ask(what, query) {
  const answer = await fetch(`api/v1/${what}?${query}`);
  if (answer.ok) return answer.json();
  throw new Error((await answer.text()).trim() || `status ${answer.status}`);
}

function windows(told) {
  const select = byId("window");
  const names = told.windows.join();
  if (select.dataset.names !== names) {
    select.dataset.names = names;
    select.replaceChildren(...told.windows.map((name) => el("option", { value: name }, `last ${name}`)));
  }
  select.value = told.window;
}

// What is wrong, from three sides: the stream, the API, the daemon itself.
let problems = [];
let failure = "";

function trouble(text) {
  failure = text;
  say(byId("problems"), [failure, ...problems.map((problem) => `The daemon says: ${problem}`)].filter(Boolean).join(" "));
}

function age({ age_s, stale, lost, tick }) {
  document.body.classList.toggle("old", stale && tick !== null);
  if (tick === null) {
    say(byId("stale"), lost ? "No connection to the daemon: is it running? Trying again." : "");
    return;
  }
  say(byId("age"), `tick ${clock(tick.time_s)}, ${span(age_s)} old`);
  const why = lost
    ? "the connection to the daemon is lost; trying again"
    : `expected a tick every ${tick.tick_s} s; see the daemon's log`;
  say(byId("stale"), stale ? `⚠ OLD DATA: what stands here is of ${clock(tick.time_s)}, ${span(age_s)} ago: ${why}.` : "");
}

function listen() {
  let typing = 0;
  byId("filter").value = state.filter;
  byId("filter").addEventListener("input", (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => change({ filter: event.target.value.trim() }), TYPING_MS);
  });
  byId("window").addEventListener("change", (event) => change({ window: event.target.value }));
  addEventListener("popstate", () => {
    state = read();
    byId("filter").value = state.filter;
    refresh();
  });
}

listen();
themeButton(byId("theme"), () => detail.draw());
new Stream(refresh, age);
plot.load().then((there) => {
  byId("no-plotly").hidden = there;
  return detail.draw();
});
