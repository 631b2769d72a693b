// The page of `qoemon demo-players`: a view for each player, a switch that holds its segments back, and its ratings.
import { play } from "./players.js";

const percent = (share) => `${(100 * share).toFixed(0)} %`;
const settings = async () => (await fetch("settings.json")).json();

function add(kind, { collector, ahead, interval }) {
  const section = document.getElementById("view").content.cloneNode(true).querySelector("section");
  const find = (selector) => section.querySelector(selector);
  const video = find("video"), button = find("button");
  section.id = kind.replace(".", "");
  find("h2").textContent = kind;
  document.getElementById("views").append(section);
  play(kind, video, { media: `media/${kind}`, collector: `${collector}/${kind}`, session: crypto.randomUUID(), ahead, interval });

  button.addEventListener("click", async () => {
    const held = button.getAttribute("aria-pressed") !== "true";
    await fetch(`${held ? "hold" : "release"}/${kind}`, { method: "POST" });
    button.setAttribute("aria-pressed", held);
    button.textContent = held ? "Let segments through" : "Hold segments back";
  });

  // What the element itself shows, to compare with what qoemon makes of the reports.
  let stalls = 0, stalled = false, ready = false;
  video.addEventListener("playing", () => ([ready, stalled] = [true, false]));
  video.addEventListener("seeking", () => ([ready, stalled] = [false, false]));
  video.addEventListener("pause", () => (stalled = false));
  video.addEventListener("waiting", () => {
    if (!ready || stalled || video.seeking) return;
    [stalled, stalls] = [true, stalls + 1];
  });
  return (rating) => {
    const { buffered, currentTime } = video;
    const ends = [...Array(buffered.length).keys()].map((each) => buffered.end(each));
    const loaded = Math.max(0, ...ends.map((end) => end - currentTime));
    section.classList.toggle("stalled", stalled);
    find(".state").textContent = stalled ? "▲ stalled" : video.paused ? "paused" : ready ? "● playing" : "loading";
    find(".buffer").textContent = `${loaded.toFixed(1)} s`;
    find(".stalls").textContent = stalls;
    find(".pow").textContent = rating ? percent(rating.pow) : "–";
    find(".mos").textContent = rating ? rating.mos.toFixed(2) : "–";
  };
}

const told = await settings();
const views = new Map(told.players.map((kind) => [kind, add(kind, told)]));
document.getElementById("daemon").href = told.daemon;
document.getElementById("about").textContent =
  `Ratings of the last ${told.window}, from the daemon at ${told.daemon}. Players report to ${told.collector}/PLAYER, with a heartbeat each ${told.interval} s.`;

let ratings = {};
setInterval(() => views.forEach((show, kind) => show(ratings[kind])), 200);
for (;;) {
  try {
    ({ ratings } = await settings());
  } catch {
    ratings = {}; // the demo has ended
  }
  await new Promise((resolve) => setTimeout(resolve, 1000));
}
