// Reports one viewing session to qoemon: stall count, stall time and playing time.
//   video   a <video> element, with any player
//   client  of mqtt.js: mqtt.connect("wss://broker.example.org:8083")
//   topic   such as "qoe/v1/video/eu/a", matching mqtt.topics of qoemon's configuration
// Returns a function to call when the player detects a stall that the element does not report. Called with
// {buffering: true}, the stall lasts until it is called with {buffering: false}; otherwise until the media moves.
export function watch(video, client, topic, session = crypto.randomUUID()) {
  let seq = 0, stalls = 0, stallMs = 0, playS = 0, position = video.currentTime;
  let since = null; // start of the open stall, ms
  let ready = false; // false until media moves: buffering at the start and after a seek is no stall
  let held = false; // the player has set playbackRate to 0 until its buffer is full enough

  const openMs = () => (since === null ? 0 : Math.max(performance.now() - since, 1));
  const report = (more) => client.connected && client.publish(topic, JSON.stringify({
    session, seq: seq++, stall_count: stalls, stall_s: Math.round(stallMs + openMs()) / 1000,
    play_s: Math.round(playS * 1000) / 1000, stalled: since !== null, ...more,
  }));
  const stall = () => {
    if (!ready || since !== null || video.seeking || video.paused || video.ended) return;
    move(); // what played since the last timeupdate
    [since, stalls] = [performance.now(), stalls + 1];
    report(); // at once: if the network is down, this may be the last report
  };
  const resume = () => {
    if (since === null) return;
    [stallMs, since] = [stallMs + openMs(), null];
    report();
  };
  const hook = ({ buffering } = {}) => {
    held = buffering === true;
    buffering === false ? resume() : stall();
  };
  const move = () => {
    const step = video.currentTime - position;
    position = video.currentTime;
    if (video.seeking || step <= 0) return;
    [playS, ready] = [playS + step, true];
    held || resume();
  };
  const seek = ({ type }) => {
    // During a stall a jump of less than 1 s is the player's attempt to recover: the stall continues.
    const nudged = type === "seeking" && since !== null && Math.abs(video.currentTime - position) < 1;
    position = video.currentTime;
    if (!nudged) (ready = false), resume();
  };
  const on = (names, handler) => names.split(" ").forEach((name) => video.addEventListener(name, handler));
  on("waiting", stall);
  on("timeupdate", move);
  on("seeking emptied", seek);
  on("playing", () => (held ? stall() : ((ready = true), resume()))); // held: play() after a pause, still no data
  on("pause ended", () => (resume(), report())); // a paused video does not stall
  setInterval(() => video.paused || report(), 10_000);
  addEventListener("pagehide", () => report({ end: true, stalled: false }));
  return hook;
}
