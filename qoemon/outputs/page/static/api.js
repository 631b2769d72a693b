// Requests to the daemon's API.

// The answer to a request; an Error with the daemon's sentence if it is refused.
export async function getJson(path, query) {
  const response = await fetch(`api/v1/${path}?${query}`);
  if (response.ok) return response.json();
  throw new Error((await response.text()).trim() || `status ${response.status}`);
}

// A question whose answer stays until another one is asked, or until it is too old. One request at a time: if the
// question changes meanwhile, the next request is for the newest.
export class Question {
  // request(question) returns a promise of the answer; onAnswer() is called when there is one.
  constructor(request, onAnswer) {
    [this._request, this._onAnswer] = [request, onAnswer];
    this.answer = null; // Or an object with `problem`.
  }

  // key: what identifies the question; time_s: now, by the daemon's ticks; repeat_s: age at which to ask again.
  ask(key, question, time_s, repeat_s) {
    if (key === this._key && time_s < this._asked_s + repeat_s) return;
    if (key !== this._key) this.answer = null;
    [this._key, this._asked_s, this._next] = [key, time_s, question];
    if (!this._running) this._run();
  }

  async _run() {
    this._running = true;
    while (this._next) {
      const [key, question] = [this._key, this._next];
      this._next = null;
      const answer = await this._request(question).catch((error) => ({ problem: error.message }));
      if (key !== this._key) continue;
      this.answer = answer;
      this._onAnswer();
    }
    this._running = false;
  }
}
