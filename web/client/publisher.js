/** Keeps a microphone published in a room, through whatever happens to the connection. */

import { Backoff, wait } from './backoff.js';
import { connectionLost } from './problem.js';
import { end, publish } from './whip.js';

// A session shorter than this does not count as success for the backoff, so
// that two pages that take the same participant from each other slow down.
const steadyMs = 10_000;

export class Publisher {
  #o;
  #track;
  #session;
  #since = 0;
  #iceServers = [];
  #renew = () => {};

  /**
   * @param {object} o
   * @param {string} o.endpoint
   * @param {() => Promise<Record<string,string>>} o.headers called for each attempt
   * @param {RTCIceServer[]} o.iceServers
   * @param {EventTarget} o.wake an event "wake" ends a wait between attempts
   * @param {() => void} o.onUp audio flows
   * @param {(err: VerbatimError, waitMs: number) => void} o.onDown it does not; waitMs is
   *   0 where ICE may still recover
   */
  constructor(o) {
    this.#o = o;
  }

  /** The connection, for its statistics. @type {RTCPeerConnection|undefined} */
  get connection() {
    return this.#session?.pc;
  }

  /** For how long the present session has been connected, in ms. */
  get age() {
    return this.#session ? Date.now() - this.#since : 0;
  }

  /** @param {MediaStreamTrack} track from now on this one is sent */
  use(track) {
    this.#track = track;
    this.#session?.sender.replaceTrack(track);
  }

  /** Gives the present session up for a new one. */
  renew() {
    this.#renew();
  }

  /** Tells the server that this is over. @param {Record<string,string>} headers */
  async end(headers) {
    if (this.#session) await end(this.#session.url, headers);
  }

  /**
   * Runs until signal aborts (returns) or the server refuses (throws).
   * @param {AbortSignal} signal
   */
  async run(signal) {
    const backoff = new Backoff();
    while (!signal.aborted) {
      let err;
      try {
        this.#session = await this.#open(signal);
        err = await this.#lost(signal);
        if (this.age > steadyMs) backoff.reset();
      } catch (e) {
        if (signal.aborted) return;
        if (!e.retry) throw e;
        err = e;
      } finally {
        this.#session?.pc.close();
        this.#session = undefined;
      }
      if (signal.aborted) return;
      const ms = backoff.next(err.retryAfter);
      this.#o.onDown(err, ms);
      await wait(ms, signal, this.#o.wake).catch(() => {});
    }
  }

  async #open(signal) {
    const session = await publish({
      endpoint: this.#o.endpoint,
      headers: this.#o.headers,
      track: this.#track,
      signal,
      iceServers: [...this.#o.iceServers, ...this.#iceServers],
      // Known from the answer on, also when nothing comes of it: then the next
      // attempt begins with them.
      onIceServers: (servers) => (this.#iceServers = servers),
      onSteady: (steady) => (steady ? this.#o.onUp() : this.#o.onDown(connectionLost(), 0)),
    });
    this.#since = Date.now();
    // The microphone may have been changed while the session was being opened.
    if (session.sender.track !== this.#track) session.sender.replaceTrack(this.#track);
    this.#o.onUp();
    return session;
  }

  #lost(signal) {
    return new Promise((resolve) => {
      this.#renew = () => resolve(connectionLost());
      this.#session.lost.then(this.#renew);
      signal.addEventListener('abort', this.#renew);
      if (signal.aborted) this.#renew();
    });
  }
}
