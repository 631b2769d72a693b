// Reports one viewing to qoemon: how often and for how long it stalled, and how much was played.
//   video   the <video> element, with any player
//   client  of mqtt.js: mqtt.connect("wss://broker.example.org:8083")
//   topic   such as "qoe/v1/video/eu/a", as in mqtt.topics of qoemon's configuration
// Returns a function to call when a player detects a stall for which the element fires no event.
export function watch(video, client, topic, session = crypto.randomUUID()) {
  let seq = 0, stalls = 0, stallMs = 0, playS = 0, at = video.currentTime;
  let since = null; // when the open stall began, ms
  let ready = false; // false until media plays: initial buffering and waiting after a seek are no stalls

  const running = () => (since === null ? 0 : Math.max(performance.now() - since, 1));
  const report = (more) => client.connected && client.publish(topic, JSON.stringify({
    session, seq: seq++, stall_count: stalls, stall_s: Math.round(stallMs + running()) / 1000,
    play_s: Math.round(playS * 1000) / 1000, stalled: since !== null, ...more,
  }));
  const stall = () => {
    if (!ready || since !== null || video.seeking || video.paused || video.ended) return;
    [since, stalls] = [performance.now(), stalls + 1];
    report(); // at once: if the network fails, this is the last report for a while
  };
  const resume = () => {
    if (since === null) return;
    [stallMs, since] = [stallMs + running(), null];
    report();
  };
  const moved = () => {
    const step = video.currentTime - at;
    at = video.currentTime;
    if (video.seeking || step <= 0) return;
    [playS, ready] = [playS + step, true];
    resume();
  };
  const sought = ({ type }) => {
    // A short jump during a stall is made by the player, and the stall continues.
    const nudged = type === "seeking" && since !== null && Math.abs(video.currentTime - at) < 1;
    at = video.currentTime;
    if (!nudged) (ready = false), resume();
  };
  const on = (names, does) => names.split(" ").forEach((name) => video.addEventListener(name, does));
  on("waiting", stall);
  on("timeupdate", moved);
  on("seeking emptied", sought);
  on("playing", () => ((ready = true), resume()));
  on("pause ended", () => (resume(), report())); // a pause is no stall
  setInterval(() => video.paused || report(), 10_000);
  addEventListener("pagehide", () => report({ end: true, stalled: false }));
  return stall;
}
