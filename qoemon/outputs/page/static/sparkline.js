// A small line chart of PoW over the last hour, from 0 to a common top, with gaps where there are no data.

import { svg } from "./dom.js";
import { lines } from "./gaps.js";
import { percent } from "./words.js";

const LEAST_TOP = 0.2; // So that noise around 1 % looks flat.
const WIDTH = 100;
const HEIGHT = 24;

export const commonTop = (rows) => rows.flat().reduce((top, value) => Math.max(top, value ?? 0), LEAST_TOP);

export function sparkline(times, values, top, tick_s) {
  const from = times[0] ?? 0;
  const length = Math.max((times.at(-1) ?? 0) - from, 1);
  const x = (time) => (((time - from) / length) * (WIDTH - 2) + 1).toFixed(1);
  const y = (value) => (HEIGHT - 1 - (value / top) * (HEIGHT - 3)).toFixed(1);
  let path = "";
  let pen = "M";
  for (const [time, value] of lines(times, values, tick_s)) {
    if (value !== null) path += `${pen}${x(time)} ${y(value)}`;
    pen = value === null ? "M" : "L";
  }
  const known = values.filter((value) => value != null);
  const label = known.length ? `PoW from ${percent(Math.min(...known))} to ${percent(Math.max(...known))}` : "no data";
  return svg(
    "svg",
    { class: "sparkline", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("line", { x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5, class: "ground" }),
    svg("path", { d: path || "M0 0", class: "line" }),
  );
}
