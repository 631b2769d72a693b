// What a viewer of this <video> element lives through, from the element's own events alone.
//   play_s     media that was played
//   playing_s  time in which the element was said to play; more than play_s where the machine is slow to show it, and
//              where shaka, which holds the media itself, lets go late: up to a second after `playing`
//   stalls     seconds of each interruption of media that was playing; the last one may be open
//   events     what the element fired, with the time in ms and the position, to explain a difference
export function truth(video) {
  let position = 0, ready = false, since = null, plays = null;
  const told = { play_s: 0, playing_s: 0, stalls: [], events: [] };
  const now = () => performance.now() / 1000;
  const goes = () => (plays ??= now());
  const rests = () => {
    if (plays !== null) told.playing_s += now() - plays;
    plays = null;
  };
  const open = () => {
    rests();
    if (!ready || since !== null || video.seeking || video.paused || video.ended) return;
    since = now();
    told.stalls.push(0);
  };
  const close = () => {
    if (since !== null) told.stalls[told.stalls.length - 1] = now() - since;
    since = null;
  };
  const moved = () => {
    const step = video.currentTime - position;
    position = video.currentTime;
    if (!video.seeking && step > 0) told.play_s += step;
    return !video.seeking && step > 0;
  };
  const does = {
    waiting: open,
    playing: () => (video.playbackRate && close(), goes(), (ready = true)),
    timeupdate: () => moved() && video.playbackRate && (close(), goes()),
    // shaka holds the media itself.
    ratechange: () => (video.playbackRate === 0 ? open() : (close(), video.paused || goes())),
    seeking: () => (close(), rests(), (ready = false), (position = video.currentTime)),
    pause: () => (close(), rests()),
    ended: () => (close(), rests()),
  };
  for (const [name, does_it] of Object.entries(does))
    video.addEventListener(name, () => (does_it(), told.events.push([name, Math.round(performance.now()), video.currentTime])));
  return () => {
    moved();
    const stalls = told.stalls.slice();
    if (since !== null) stalls[stalls.length - 1] = now() - since;
    const playing_s = told.playing_s + (plays === null ? 0 : now() - plays);
    return { ...told, playing_s, stalls, stalled: since !== null };
  };
}
