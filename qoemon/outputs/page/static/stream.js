// The stream of the daemon's ticks, and the age of the newest. A browser reconnects a broken stream by itself; if the
// daemon refused it, this module does.

const RECONNECT_MS = 5000;
const TICKS_MISSED = 3;
const GRACE_S = 5;

export class Stream {
  // onTick(tick) at each tick; onAge({age_s, stale, lost, tick}) each second.
  constructor(onTick, onAge) {
    this._onTick = onTick;
    this._onAge = onAge;
    this._tick = null;
    this._shown_s = null;
    this._lost = false;
    this._open();
    setInterval(() => this._reportAge(), 1000);
  }

  // The page shows the tick of this time, which may be older than the newest.
  showing(time_s) {
    this._shown_s = time_s;
    this._reportAge();
  }

  _reportAge() {
    if (this._tick === null) {
      this._onAge({ age_s: null, stale: this._lost, lost: this._lost, tick: null });
      return;
    }
    const time_s = this._shown_s ?? this._tick.time_s;
    // By the daemon's clock up to the arrival of its newest tick, and by the browser's since.
    const age_s = this._tick.now_s - time_s + (performance.now() - this._arrival) / 1000;
    const old = age_s > TICKS_MISSED * this._tick.tick_s + GRACE_S;
    this._onAge({ age_s, stale: old || this._lost, lost: this._lost, tick: { ...this._tick, time_s } });
  }

  _open() {
    const source = new EventSource("api/v1/stream");
    source.addEventListener("open", () => this._setLost(false));
    source.addEventListener("tick", (event) => {
      this._tick = JSON.parse(event.data);
      this._arrival = performance.now();
      this._setLost(false);
      this._onTick(this._tick);
    });
    source.addEventListener("error", () => {
      this._setLost(true);
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this._open(), RECONNECT_MS);
    });
  }

  _setLost(lost) {
    this._lost = lost;
    this._reportAge();
  }
}
