// The daemon's ticks, and how old the newest is. A browser takes up a broken stream again by itself, unless the
// daemon refused it; then it is begun anew.

const AGAIN_MS = 5000;
const TICKS_MISSED = 3;
const GRACE_S = 5;

export class Stream {
  // told(tick) at each tick; state({age_s, stale, lost}) each second.
  constructor(told, state) {
    this._told = told;
    this._state = state;
    this._tick = null;
    this._lost = false;
    this._open();
    setInterval(() => this.look(), 1000);
  }

  look() {
    if (this._tick === null) {
      this._state({ age_s: null, stale: this._lost, lost: this._lost, tick: null });
      return;
    }
    // By the daemon's clock when it came, and by ours since.
    const age_s = this._tick.now_s - this._tick.time_s + (performance.now() - this._at) / 1000;
    const old = age_s > TICKS_MISSED * this._tick.tick_s + GRACE_S;
    this._state({ age_s, stale: old || this._lost, lost: this._lost, tick: this._tick });
  }

  _open() {
    const source = new EventSource("api/v1/stream");
    source.addEventListener("open", () => this._set(false));
    source.addEventListener("tick", (event) => {
      this._tick = JSON.parse(event.data);
      this._at = performance.now();
      this._set(false);
      this._told(this._tick);
    });
    source.addEventListener("error", () => {
      this._set(true);
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this._open(), AGAIN_MS);
    });
  }

  _set(lost) {
    this._lost = lost;
    this.look();
  }
}
