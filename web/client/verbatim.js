/**
 * The browser client of a Verbatim server: sends a microphone into a room and
 * receives the room's captions. No dependencies, no build step:
 *
 *   import { Verbatim } from '/client/verbatim.js';
 *
 *   const room = new Verbatim({ room: 'daily', name: 'Ada' });
 *   room.addEventListener('caption', (e) => show(e.detail));
 *   await room.join();
 *
 * Connections that break are opened again by themselves, with the same
 * participant id, until leave() is called or the server refuses.
 *
 * Events are CustomEvents with this detail:
 *
 * | event    | detail |
 * | -------- | ------ |
 * | state    | {state, reason, code, audio, captions, muted}: state.js has the names; reason is a sentence or "" |
 * | meeting  | the live meeting or null: on each (re)connect, and when a new one begins |
 * | caption  | a Segment (captions.js) that is new or changed; stale and repeated ones never come |
 * | retract  | {id}: an interim that turned out to hold no words |
 * | joined   | {meeting, participant} |
 * | left     | {meeting, participant} |
 * | coverage | {meeting, coverage, tracks}; a track that is being transcribed has transcription: {state, engine, retries, since} |
 * | ended    | {meeting, state} |
 * | level    | how loud the microphone is, 0 to 1 |
 * | error    | a VerbatimError {code, message, status, retry} (problem.js); once per failure, not per attempt |
 */

import { Captions } from './captions.js';
import { follow } from './events.js';
import { Meter, microphones, openMicrophone } from './microphone.js';
import { VerbatimError, fromResponse, noServer } from './problem.js';
import { Publisher } from './publisher.js';
import { Status, after, randomParticipant, sessionGone, validRoom } from './state.js';

export { Captions, VerbatimError, validRoom };

/**
 * @typedef {object} Options
 * @property {string} room `[a-z0-9][a-z0-9_-]{0,63}`
 * @property {string} [name] shown with the captions
 * @property {string} [url] the server's base, by default the page's origin
 * @property {string|(() => string|Promise<string>)} [token] a bearer token, or what gets a fresh one
 * @property {string} [participant] who this is across reconnects and reloads; random by default
 * @property {MediaTrackConstraints} [audio] added to the microphone's constraints
 * @property {string} [deviceId] the microphone, "" for the browser's default
 * @property {boolean} [muted] begin muted
 * @property {RTCIceServer[]} [iceServers] in addition to those that the server names
 * @property {(c: MediaStreamConstraints) => Promise<MediaStream>} [getUserMedia] in place of the browser's
 */

export class Verbatim extends EventTarget {
  /** This participant's id: keep it (sessionStorage) to be the same one after a reload. @type {string} */
  participant;
  /** The meeting that was last live in the room, kept up to date by the events. @type {object|null} */
  meeting = null;
  /** All captions so far, in order, over reconnects and meetings. */
  captions = new Captions();

  #o;
  #base;
  #status = new Status();
  #told = '';
  #muted;
  #deviceId;
  #token = '';
  #track;
  #publisher;
  #joined; // AbortController of the microphone's side
  #following; // AbortController of the event stream
  #wake = new EventTarget();
  #meter = new Meter((level) => this.#emit('level', this.#muted ? 0 : level));

  /** @param {Options} options */
  constructor(options) {
    super();
    if (!validRoom(options.room)) throw new VerbatimError('bad-room');
    this.#o = options;
    this.#base = new URL(options.url ?? '/', globalThis.location?.href);
    if (!this.#base.pathname.endsWith('/')) this.#base.pathname += '/';
    this.participant = options.participant || randomParticipant();
    this.#muted = options.muted ?? false;
    this.#deviceId = options.deviceId ?? '';
  }

  /** The microphones that there are: [{id, label}], empty before the first permission. */
  static devices() {
    return microphones();
  }

  /** @returns {import('./state.js').State} */
  get state() {
    return this.#status.detail.state;
  }

  get muted() {
    return this.#muted;
  }

  /** The id of the microphone in use, "" when none is open. */
  get deviceId() {
    return this.#track?.getSettings().deviceId ?? '';
  }

  /**
   * Opens the microphone and the captions. Rejects with a VerbatimError when
   * there is no microphone or the server refuses; a server that is away is
   * tried until it is back.
   * @returns {Promise<boolean>} true once the server receives audio, false
   *   when it was left before
   */
  async join() {
    if (this.#joined) return this.#status.detail.audio === 'on';
    const { signal } = (this.#joined = new AbortController());
    this.#status.want('join');
    this.#set('audio', 'connecting');
    try {
      const track = await this.#open(this.#deviceId);
      if (signal.aborted) {
        track.stop();
        return false;
      }
      this.#publisher = this.#newPublisher();
      this.#use(track);
      this.listen();
      return await this.#publish(signal);
    } catch (err) {
      if (!signal.aborted) this.#fail(err);
      throw err;
    }
  }

  /** Opens the captions alone, without a microphone. Returns at once. */
  listen() {
    if (this.#status.wanted !== 'join') this.#status.want('listen');
    this.#tell();
    if (this.#following) return;
    const { signal } = (this.#following = new AbortController());
    this.#set('captions', 'connecting');
    this.#wakeOnline(signal);
    let reopened = false;
    follow({
      url: this.#url(`v1/rooms/${this.#o.room}/events`).href,
      headers: () => this.#headers(),
      signal,
      wake: this.#wake,
      onOpen: () => this.#set('captions', 'on'),
      onDown: (err, ms) => {
        reopened = true;
        this.#down('captions', err, ms);
      },
      onEvent: (event, data) => {
        this.#event(event, data);
        if (event !== 'state' || !reopened) return;
        reopened = false;
        // Not right after connecting: the track begins with the first packet.
        if (this.#publisher?.age > 5_000 && sessionGone(data.meeting, this.participant)) this.#publisher.renew();
      },
    }).catch((err) => {
      this.#following = undefined;
      if (this.#status.wanted !== 'join') return this.#fail(err);
      this.#set('captions', 'failed', err);
      this.#emit('error', err);
    });
  }

  /**
   * Leaves the meeting and closes the microphone.
   * @param {{keepCaptions?: boolean}} [options] keepCaptions goes on receiving
   *   them: the final of one's last sentence comes after one has left.
   */
  async leave({ keepCaptions = false } = {}) {
    const ended = this.#publisher?.end(this.#authorization());
    this.#stopAudio();
    if (!keepCaptions) this.#stopCaptions();
    this.#status.finish('left');
    this.#tell();
    await ended;
  }

  /**
   * Muting sends silence in place of the microphone: time goes on in the
   * transcript, and a sentence that was begun gets its end.
   * @param {boolean} on
   */
  mute(on) {
    this.#muted = on;
    if (this.#track) this.#track.enabled = !on;
    this.#tell();
  }

  /**
   * Changes the microphone, in the running session if there is one.
   * @param {string} [deviceId] "" for the browser's default
   */
  async setDevice(deviceId = '') {
    if (this.#track) {
      const track = await this.#open(deviceId).catch((err) => {
        this.#emit('error', err);
        throw err;
      });
      if (!this.#joined) return track.stop(); // left meanwhile
      this.#use(track);
    }
    this.#deviceId = deviceId;
  }

  /**
   * A transcript, as a file's content.
   * @param {'json'|'vtt'|'srt'|'txt'} format
   * @param {string} [meeting] by default the current one
   * @returns {Promise<Blob>}
   */
  async transcript(format, meeting = this.meeting?.id) {
    const url = this.#url(`v1/meetings/${encodeURIComponent(meeting)}/transcript.${format}`);
    const res = await fetch(url, { headers: await this.#headers(), cache: 'no-store' }).catch((err) => {
      throw noServer(err);
    });
    if (!res.ok) throw await fromResponse(res);
    return res.blob();
  }

  #open(deviceId) {
    return openMicrophone({ audio: this.#o.audio, deviceId, getUserMedia: this.#o.getUserMedia });
  }

  #use(track) {
    const old = this.#track;
    this.#track = track;
    track.enabled = !this.#muted;
    track.addEventListener('ended', () => this.#unplugged(track));
    this.#meter.start(track, () => this.#publisher?.connection);
    this.#publisher.use(track);
    old?.stop();
  }

  // Any other microphone is better than silence.
  async #unplugged(track) {
    if (track !== this.#track) return;
    this.#emit('error', new VerbatimError('microphone-lost'));
    await this.setDevice('').catch(() => {});
  }

  #newPublisher() {
    const endpoint = this.#url(`v1/rooms/${this.#o.room}/whip`);
    if (this.#o.name) endpoint.searchParams.set('name', this.#o.name);
    endpoint.searchParams.set('participant', this.participant);
    return new Publisher({
      endpoint: endpoint.href,
      headers: () => this.#headers(),
      iceServers: this.#o.iceServers ?? [],
      wake: this.#wake,
      onUp: () => this.#set('audio', 'on'),
      onDown: (err, ms) => this.#down('audio', err, ms),
    });
  }

  // Resolves with the first connection (true) or when it was given up (false).
  #publish(signal) {
    this.#wakeOnline(signal);
    // The page going away has to be said, or the others see a participant who
    // is not there until the server's timeout. A page that comes back out of
    // the browser's cache opens a new session.
    const publisher = this.#publisher;
    globalThis.addEventListener?.('pagehide', () => publisher.end(this.#authorization()), { signal });
    globalThis.addEventListener?.('pageshow', (e) => e.persisted && publisher.renew(), { signal });
    return new Promise((resolve, reject) => {
      this.addEventListener('state', (e) => e.detail.audio === 'on' && resolve(true), { signal });
      publisher.run(signal).then(
        () => resolve(false),
        (err) => {
          this.#fail(err);
          reject(err);
        },
      );
    });
  }

  #stopAudio() {
    this.#joined?.abort();
    this.#joined = undefined;
    this.#publisher = undefined;
    this.#meter.stop();
    this.#track?.stop();
    this.#track = undefined;
  }

  #stopCaptions() {
    this.#following?.abort();
    this.#following = undefined;
    this.#status.set('captions', 'off');
  }

  #wakeOnline(signal) {
    globalThis.addEventListener?.('online', () => this.#wake.dispatchEvent(new Event('wake')), { signal });
  }

  #event(event, data) {
    switch (event) {
      case 'state':
        // What became of one that was not finished when the stream broke?
        if (['live', 'ended'].includes(this.meeting?.state) && this.meeting.id !== data.meeting?.id) this.#endedUnseen(this.meeting.id);
        // An ended meeting stays known: its transcript can still be had.
        if (data.meeting) this.meeting = data.meeting;
        this.#emit('meeting', data.meeting);
        break;
      case 'caption': {
        const change = this.captions.apply(data);
        if (change === 'removed') this.#emit('retract', { id: data.id });
        else if (change !== 'ignored') this.#emit('caption', data);
        break;
      }
      case 'coverage': {
        const done = data.tracks.filter((t) => t.state === 'complete' || t.state === 'incomplete');
        for (const seg of this.captions.settle(done.map((t) => t.id))) this.#emit('retract', { id: seg.id });
      }
      // falls through
      case 'joined':
      case 'left':
      case 'ended':
        this.meeting = after(this.meeting, event, data);
        this.#emit(event, data);
    }
    // Whoever is in a meeting that was ended is out of it; joining again would
    // begin a new one, which is for people to decide.
    if (event === 'ended' && this.#joined && data.meeting === this.meeting?.id) {
      this.#stopAudio();
      this.#status.finish('left', { message: 'The meeting has ended.', code: 'ended' });
      this.#tell();
    }
  }

  // The meeting ended while the stream was down. Nobody ended it under a
  // participant who was there, so the microphone goes on, into the next one.
  async #endedUnseen(id) {
    const res = await fetch(this.#url(`v1/meetings/${id}`), { headers: await this.#headers() }).catch(() => null);
    const meeting = res?.ok ? await res.json().catch(() => null) : null;
    if (!meeting || meeting.state === 'live') return;
    if (this.meeting?.id === id) this.meeting = meeting;
    this.#emit('ended', { meeting: id, state: meeting.state });
  }

  async #headers() {
    const { token } = this.#o;
    this.#token = (typeof token === 'function' ? await token() : token) ?? '';
    return this.#authorization();
  }

  // With the token that was last in use: a page that goes away cannot wait for another.
  #authorization() {
    return this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
  }

  #url(path) {
    return new URL(path, this.#base);
  }

  #set(name, side, err) {
    this.#status.set(name, side, err);
    this.#tell();
  }

  #down(name, err, ms) {
    const news = this.#status.down(name, err, ms);
    this.#tell();
    if (news) this.#emit('error', err);
  }

  #fail(err) {
    if (this.state === 'failed') return;
    this.#stopAudio();
    this.#stopCaptions();
    this.#status.finish('failed', err);
    this.#tell();
    this.#emit('error', err);
  }

  #tell() {
    const detail = { ...this.#status.detail, muted: this.#muted };
    const told = JSON.stringify(detail);
    if (told === this.#told) return;
    this.#told = told;
    this.#emit('state', detail);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
