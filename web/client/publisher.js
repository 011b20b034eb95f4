/** Keeps a microphone published in a room, through whatever happens to the connection. */

import { Backoff, wait } from './backoff.js';
import { withServers } from './ice.js';
import { connectionLost } from './problem.js';
import { end, publish } from './whip.js';

/** @import { VerbatimError } from './problem.js' */
/** @import { Session } from './whip.js' */

// A session shorter than this does not count as success for the backoff, so
// that two pages that take the same participant from each other slow down.
const steadyMs = 10_000;

// Of a move to another server. Not all who are asked to move come at once; where
// the load balancer has not noticed yet, trying again helps. Both sessions are
// sent to for overlapMs, so that no packet falls in between.
const moving = { spreadMs: 500, againMs: 1_000, overlapMs: 500 };

export class Publisher {
  #o;
  /** @type {MediaStreamTrack|undefined} */
  #track;
  /** @type {Session|undefined} */
  #session;
  #since = 0;
  #running = new AbortController().signal; // of run
  /** @type {RTCIceServer[]} */
  #iceServers = [];
  #renew = () => {};
  /** @type {(next: Session) => void} */
  #replace = () => {};
  #moving = false;

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
   * @param {typeof publish} [o.publish] for tests
   * @param {typeof moving} [o.moving] for tests
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

  /**
   * Goes to another server, because the present one shuts down: a new session at
   * the same address first, and then the end of the old one. Where there is no other
   * server, the old one goes on until the server ends it.
   * @param {number} withinMs
   */
  async move(withinMs) {
    const old = this.#session;
    if (!old || this.#moving) return;
    this.#moving = true;
    const { spreadMs, againMs, overlapMs } = this.#o.moving ?? moving;
    const over = new AbortController();
    old.lost.then(() => over.abort());
    const signal = AbortSignal.any([over.signal, this.#running, AbortSignal.timeout(withinMs)]);
    try {
      await wait(Math.random() * spreadMs, signal);
      for (;;) {
        try {
          const next = await this.#publish(signal);
          if (this.#session !== old) return next.close(); // it was given up meanwhile
          this.#replace(next);
          await wait(overlapMs, this.#running).catch(() => {});
          end(old.url, await this.#o.headers());
          old.close();
          return;
        } catch (err) {
          if (signal.aborted || !(/** @type {VerbatimError} */ (err).retry)) return;
        }
        await wait(againMs, signal);
      }
    } catch {
      // The time is over, or the session: what comes next is a new one.
    } finally {
      this.#moving = false;
    }
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
    this.#running = signal;
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
    const session = await this.#publish(signal);
    this.#take(session);
    this.#o.onUp();
    return session;
  }

  /** @param {AbortSignal} signal @returns {Promise<Session>} */
  #publish(signal) {
    return (this.#o.publish ?? publish)({
      endpoint: this.#o.endpoint,
      headers: this.#o.headers,
      track: /** @type {MediaStreamTrack} */ (this.#track),
      signal,
      wake: this.#o.wake,
      iceServers: withServers(this.#o.iceServers, this.#iceServers),
      // Known from the answer on, also when nothing comes of it: then the next
      // attempt begins with them.
      onIceServers: (servers) => (this.#iceServers = servers),
      onSteady: (steady) => (steady ? this.#o.onUp() : this.#o.onDown(connectionLost(), 0)),
    });
  }

  /** @param {Session} session */
  #take(session) {
    this.#since = Date.now();
    this.#o.onJoined(session.participant);
    // The microphone may have been changed while the session was being opened.
    this.#session = session;
    if (session.sender.track !== this.#track) this.#send();
  }

  // A session that is just being closed refuses; the next one begins with the track.
  #send() {
    this.#session?.sender.replaceTrack(this.#track ?? null).catch(() => {});
  }

  /**
   * Resolves when the session is gone, and none has taken its place by a move.
   * @param {Session} session @param {AbortSignal} signal @returns {Promise<VerbatimError>}
   */
  #lost(session, signal) {
    return new Promise((resolve) => {
      this.#renew = () => resolve(connectionLost());
      this.#replace = (next) => {
        this.#take(next);
        next.lost.then(() => this.#session === next && this.#renew());
      };
      session.lost.then(() => this.#session === session && this.#renew());
      signal.addEventListener('abort', this.#renew);
      if (signal.aborted) this.#renew();
    });
  }
}
