// What a viewer of this <video> element lives through, from the element's own events alone.
//   play_s   media that was played
//   stalls   seconds of each interruption of media that was playing; the last one may be open
//   events   what the element fired, with the time in ms and the position, to explain a difference
export function truth(video) {
  let position = 0, ready = false, since = null;
  const told = { play_s: 0, stalls: [], events: [] };
  const now = () => performance.now() / 1000;
  const open = () => {
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
    playing: () => (video.playbackRate && close(), (ready = true)),
    timeupdate: () => moved() && video.playbackRate && close(),
    // shaka holds the media itself.
    ratechange: () => (video.playbackRate === 0 ? open() : close()),
    seeking: () => (close(), (ready = false), (position = video.currentTime)),
    pause: close,
    ended: close,
  };
  for (const [name, does_it] of Object.entries(does))
    video.addEventListener(name, () => (does_it(), told.events.push([name, Math.round(performance.now()), video.currentTime])));
  return () => {
    moved();
    const stalls = told.stalls.slice();
    if (since !== null) stalls[stalls.length - 1] = now() - since;
    return { ...told, stalls, stalled: since !== null };
  };
}
