// Gaps in series over time. A series has one where a value is missing, or where no tick passed for long. Lines and
// bands are drawn stretch by stretch: a shape across a gap would claim that something is known there.

const OLDER_STEP_S = 30; // Distance of the older points.
const PAUSE_STEPS = 3;

// Two points further apart than this have a gap between them.
const pauseOf = (tick_s) => PAUSE_STEPS * Math.max(tick_s, OLDER_STEP_S);

// The unbroken stretches of a series: lists of the indexes of their points.
export function stretches(times, values, tick_s) {
  const pause_s = pauseOf(tick_s);
  const found = [];
  times.forEach((time, i) => {
    if (values[i] == null) return;
    const last = found.at(-1);
    if (last?.at(-1) === i - 1 && time - times[i - 1] <= pause_s) last.push(i);
    else found.push([i]);
  });
  return found;
}

// The points of a stretch as [time, index]. A lone point is as wide as a tick, as it would be invisible otherwise.
function points(stretch, times, tick_s) {
  if (stretch.length > 1) return stretch.map((i) => [times[i], i]);
  const [i] = stretch;
  return [times[i] - tick_s / 2, times[i], times[i] + tick_s / 2].map((time) => [time, i]);
}

// The line of a series, as [time, value]; null between its stretches.
export function lines(times, values, tick_s) {
  return joined(
    stretches(times, values, tick_s).map((stretch) => points(stretch, times, tick_s).map(([time, i]) => [time, values[i]])),
  );
}

// The band between two series, as [time, value]: one closed polygon per stretch, null between them.
export function bands(times, lower, upper, tick_s) {
  const polygons = stretches(times, lower, tick_s).map((stretch) => {
    const along = points(stretch, times, tick_s);
    const above = along.map(([time, i]) => [time, upper[i]]);
    const below = along.map(([time, i]) => [time, lower[i]]);
    return [...above, ...below.reverse(), above[0]];
  });
  return joined(polygons);
}

const joined = (shapes) => shapes.flatMap((shape, i) => (i ? [[shape[0][0], null], ...shape] : shape));
