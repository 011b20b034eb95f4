/** Keeps a microphone published in a room, through whatever happens to the connection. */

import { Backoff, wait } from './backoff.js';
import { connectionLost } from './problem.js';
import { end, publish } from './whip.js';

/** @import { VerbatimError } from './problem.js' */
/** @import { Session } from './whip.js' */

// A session shorter than this does not count as success for the backoff, so
// that two pages that take the same participant from each other slow down.
const steadyMs = 10_000;

export class Publisher {
  #o;
  /** @type {MediaStreamTrack|undefined} */
  #track;
  /** @type {Session|undefined} */
  #session;
  #since = 0;
  /** @type {RTCIceServer[]} */
  #iceServers = [];
  #renew = () => {};

  /**
   * @param {object} o
   * @param {string} o.endpoint
   * @param {() => Promise<Record<string,string>>} o.headers called for each attempt
   * @param {RTCIceServer[]} o.iceServers
   * @param {EventTarget} o.wake an event "wake" says that the network may be another: it
   *   restarts ICE, or ends a wait between attempts
   * @param {(participant: string) => void} o.onJoined a session is there; who is in it
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
    this.#send();
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
      /** @type {VerbatimError} */
      let err;
      try {
        const session = await this.#open(signal);
        err = await this.#lost(session, signal);
        if (this.age > steadyMs) backoff.reset();
      } catch (e) {
        if (signal.aborted) return;
        err = /** @type {VerbatimError} */ (e);
        if (!err.retry) throw err;
      } finally {
        this.#session?.close();
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
      track: /** @type {MediaStreamTrack} */ (this.#track),
      signal,
      wake: this.#o.wake,
      iceServers: [...this.#o.iceServers, ...this.#iceServers],
      // Known from the answer on, also when nothing comes of it: then the next
      // attempt begins with them.
      onIceServers: (servers) => (this.#iceServers = servers),
      onSteady: (steady) => (steady ? this.#o.onUp() : this.#o.onDown(connectionLost(), 0)),
    });
    this.#since = Date.now();
    this.#o.onJoined(session.participant);
    // The microphone may have been changed while the session was being opened.
    this.#session = session;
    if (session.sender.track !== this.#track) this.#send();
    this.#o.onUp();
    return session;
  }

  // A session that is just being closed refuses; the next one begins with the track.
  #send() {
    this.#session?.sender.replaceTrack(this.#track ?? null).catch(() => {});
  }

  /** @param {Session} session @param {AbortSignal} signal @returns {Promise<VerbatimError>} */
  #lost(session, signal) {
    return new Promise((resolve) => {
      this.#renew = () => resolve(connectionLost());
      session.lost.then(this.#renew);
      signal.addEventListener('abort', this.#renew);
      if (signal.aborted) this.#renew();
    });
  }
}
