// The page: keeps its state in the address, and at each tick of the stream loads data from the API and shows them.

import { pageQuery, read, write } from "./address.js";
import { showAlerts } from "./alertlist.js";
import { getJson } from "./api.js";
import { Detail } from "./detail.js";
import { byId, el, setText } from "./dom.js";
import { showFeed } from "./feed.js";
import { Feedback } from "./feedback.js";
import { GroupTable, keyOf } from "./grouptable.js";
import { showNow } from "./now.js";
import { Pager } from "./pager.js";
import { PastAlerts } from "./past.js";
import * as plot from "./plot.js";
import { chosen, RangePicker, rangeOf } from "./range.js";
import { byOf, RollUpMenu } from "./rollup.js";
import { Stream } from "./stream.js";
import { themeButton } from "./theme.js";
import { csvUrl } from "./timeline.js";
import { span, timeOfDay, windowText } from "./words.js";

const TYPING_MS = 200;

let state = read();
let labels = []; // Names of all labels.
let defaultGroup = null; // The group or sum that is shown while none is selected,
let defaultBy = ""; // and the roll-up that it is in.
const detail = new Detail((from_s, to_s) => chooseRange(chosen(from_s, to_s)));
const feedback = new Feedback();
const groups = new GroupTable(select, choose);
const pager = new Pager((offset) => change({ offset: String(offset) }), (rows) => choose({ rows }));

const rollUps = new RollUpMenu((by) => choose({ by, group: null }));
const picker = new RangePicker(chooseRange);
const pastAlerts = new PastAlerts(select);

// A group, or a sum of groups: the table shows its row.
function select(group) {
  Object.assign(state, { group, by: byOf(group, labels) });
  write(state, { newEntry: true });
  groups.markSelected(keyOf(group));
  refresh();
}

function change(changes) {
  Object.assign(state, changes);
  write(state);
  refresh();
}

function chooseRange(changes) {
  Object.assign(state, changes);
  write(state, { newEntry: true });
  refresh();
}

// Other rows, from the first.
function choose(changes) {
  if (changes.filter === "") byId("filter").value = "";
  change({ ...changes, offset: "0" });
}

// One refresh at a time, and one more if something changed meanwhile: requests never pile up at the daemon.
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
      showProblems("");
    } catch (error) {
      showProblems(`Cannot show the daemon's response: ${error.message}`);
    }
  }
  running = false;
}

// Everything on the page comes from one answer of the daemon, so all of it is of one tick.
async function load() {
  const asked = { ...state };
  if (asked.by !== defaultBy) [defaultGroup, defaultBy] = [null, asked.by];
  const wanted = asked.group ?? defaultGroup;
  let answer = await getJson("groups", pageQuery(asked, wanted));
  const group = asked.group ?? groupToShow(answer);
  if (!same(group, wanted)) answer = await getJson("groups", pageQuery(asked, group));
  await show(answer, group, asked);
}

const same = (one, other) => (one && keyOf(one)) === (other && keyOf(other));

function show(answer, group, asked) {
  ({ problems, labels } = answer);
  setText(byId("pair"), answer.pair ? `Pair: ${answer.pair}` : "");
  stream.showing(answer.time_s);
  showWindows(answer);
  rollUps.show(answer);
  showFeed(answer.feed, select);
  showNow(answer, select);
  groups.show(answer, group && keyOf(group), asked);
  pager.show(answer);
  showAlerts(answer.alerts, answer.time_s, select);
  const cards = feedback.show(answer.feedback);
  byId("detail").hidden = group === null;
  pastAlerts.ask(asked, labels, answer.time_s);
  if (!group) return cards;
  const range = rangeOf(asked, answer.time_s);
  picker.show(asked, range, { csv: csvUrl(group, range), kept_s: pastAlerts.kept_s });
  return Promise.all([cards, detail.show(asked, group, answer.detail, answer.time_s)]);
}

// While no group is selected: the worst one, which is kept while it is affected. Of sums, the first one.
function groupToShow(answer) {
  const affected = answer.by ? [] : answer.summary.hit;
  const kept = defaultGroup && affected.some((group) => keyOf(group) === keyOf(defaultGroup));
  if (!defaultGroup || (affected.length && !kept)) {
    const worst = affected[0] ?? answer.rows[0];
    defaultGroup = worst ? { service: worst.service, labels: worst.labels } : null;
  }
  return defaultGroup;
}

// All charts again, in the colours of the theme.
const draw = () => Promise.all([detail.draw(), feedback.draw()]);

function showWindows(answer) {
  const menu = byId("window");
  const names = answer.windows.join();
  if (menu.dataset.names !== names) {
    menu.dataset.names = names;
    menu.replaceChildren(...answer.windows.map((name) => el("option", { value: name }, `last ${windowText(name)}`)));
  }
  menu.value = answer.window;
}

let problems = []; // Reported by the daemon.

function showProblems(failure) {
  const texts = [failure, ...problems.map((problem) => `Daemon: ${problem}.`)];
  setText(byId("problems"), texts.filter(Boolean).join(" "));
}

function showAge({ age_s, stale, lost, tick }) {
  document.body.classList.toggle("old", stale && tick !== null);
  if (tick === null) {
    setText(byId("stale"), lost ? "No connection to the daemon: is it running? Retrying." : "");
    return;
  }
  setText(byId("age"), `tick ${timeOfDay(tick.time_s)}, ${span(age_s)} old`);
  const cause = lost
    ? "connection to the daemon lost, retrying"
    : `expected a tick every ${tick.tick_s} s; see the daemon's log`;
  setText(byId("stale"), stale ? `⚠ OLD DATA from ${timeOfDay(tick.time_s)}, ${span(age_s)} ago: ${cause}.` : "");
}

function addListeners() {
  let typing = 0;
  byId("filter").value = state.filter;
  byId("filter").addEventListener("input", (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => choose({ filter: event.target.value.trim() }), TYPING_MS);
  });
  byId("window").addEventListener("change", (event) => choose({ window: event.target.value }));
  addEventListener("popstate", () => {
    state = read();
    byId("filter").value = state.filter;
    refresh();
  });
}

addListeners();
themeButton(byId("theme"), draw);
const stream = new Stream(refresh, showAge);
plot.load().then((loaded) => {
  byId("no-plotly").hidden = loaded;
  return draw();
});
