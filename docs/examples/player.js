// Reports one viewing session to qoemon: stall count, stall time and playing time.
//   video   a <video> element, with any player
//   client  of mqtt.js: mqtt.connect("wss://broker.example.org:8083")
//   topic   such as "qoe/v1/video/eu/a", matching mqtt.topics of qoemon's configuration
// Returns a function to call when the player detects a stall that the element does not report. Called with
// {buffering: true}, the stall lasts until it is called with {buffering: false}; otherwise until the media moves.
// Its method `say` reports what the user says: say({asked: true}), say({rating: 4}).
export function watch(video, client, topic, session = crypto.randomUUID()) {
  let seq = 0, stalls = 0, stallMs = 0, playS = 0, position = video.currentTime;
  let since = null; // start of the open stall, ms
  let ready = false; // false until media moves: buffering at the start and after a seek is no stall
  let held = false; // the player has set playbackRate to 0 until its buffer is full enough
  let said = {}; // what the user said while the connection was down

  const openMs = () => (since === null ? 0 : Math.max(performance.now() - since, 1));
  const report = (more) => {
    if (!client.connected) return;
    client.publish(topic, JSON.stringify({
      session, seq: seq++, stall_count: stalls, stall_s: Math.round(stallMs + openMs()) / 1000,
      play_s: Math.round(playS * 1000) / 1000, stalled: since !== null, ...said, ...more,
    }));
    said = {};
  };
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
  return Object.assign(hook, { say: (opinion) => (Object.assign(said, opinion), report()) });
}

// Whether to ask the user of this session: one in k of them, the same ones each time the page is loaded.
export function isAsked(session, k) {
  let hash = 0;
  for (const byte of new TextEncoder().encode(session)) { // each mixed in as at the end of MurmurHash3
    hash = Math.imul(hash ^ byte, 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    hash ^= hash >>> 16;
  }
  return (hash >>> 0) % k === 0;
}
