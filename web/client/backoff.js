/** How long to wait before trying again. */

/**
 * Exponential backoff with jitter: without jitter all clients of a server that
 * restarts would come back in the same instant, again and again.
 */
export class Backoff {
  #attempt = 0;
  #min;
  #max;
  #random;

  /** @param {{min?: number, max?: number, random?: () => number}} [options] in ms */
  constructor({ min = 500, max = 15_000, random = Math.random } = {}) {
    this.#min = min;
    this.#max = max;
    this.#random = random;
  }

  /**
   * @param {number} [atLeast] what the server asked for (Retry-After), in ms
   * @returns {number} ms to wait: between half of the step and all of it
   */
  next(atLeast = 0) {
    const step = Math.min(this.#max, this.#min * 2 ** this.#attempt);
    this.#attempt = Math.min(this.#attempt + 1, 30);
    return Math.round(Math.max(atLeast, step * (0.5 + this.#random() / 2)));
  }

  reset() {
    this.#attempt = 0;
  }
}

/**
 * @param {string|null} header The value of Retry-After: seconds or an HTTP date.
 * @param {number} now
 * @returns {number} ms, 0 where the header says nothing; an hour at most
 */
export function retryAfter(header, now = Date.now()) {
  if (!header) return 0;
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), 3_600_000) : 0;
}

/**
 * Waits, unless signal aborts (rejects) or wake fires (ends the wait early).
 * @param {number} ms
 * @param {AbortSignal} signal
 * @param {EventTarget} [wake] an event "wake" on it ends the wait
 * @returns {Promise<void>}
 */
export function wait(ms, signal, wake) {
  return new Promise((resolve, reject) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      wake?.removeEventListener('wake', done);
      if (signal.aborted) reject(signal.reason);
      else resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', done);
    wake?.addEventListener('wake', done);
    if (signal.aborted) done();
  });
}
