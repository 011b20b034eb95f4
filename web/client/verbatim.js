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
 * participant id, until leave() is called or the server refuses. README.md tells
 * of all that there is, shapes.ts has the events and their details.
 */

import { Api } from './api.js';
import { Captions } from './captions.js';
import { follow } from './events.js';
import { Input } from './input.js';
import { microphones } from './microphone.js';
import { networkChanges } from './network.js';
import { VerbatimError } from './problem.js';
import { Publisher } from './publisher.js';
import { Status, after, randomParticipant, sessionGone, validRoom } from './state.js';

/** @import { Device, Events, Meeting, MeetingList, Options, PageOfRoom, SearchResult, Stats, Target, TranscriptFormat } from './shapes.js' */

export { Api, Captions, VerbatimError, validRoom };

export class Verbatim extends /** @type {new () => Target<Events>} */ (EventTarget) {
  /** This participant's id: keep it (sessionStorage) to be the same one after a reload. With a token it is the token's, once joined. @type {string} */
  participant;
  /** The meeting that was last live in the room, kept up to date by the events. @type {Meeting|null} */
  meeting = null;
  /** All captions so far, in order, over reconnects and meetings. */
  captions = new Captions();
  /** All of the server's API, with the same token. @type {Api} */
  api;

  #o;
  #status = new Status();
  #told = '';
  /** @type {Input} */
  #input;
  /** @type {Publisher|undefined} */
  #publisher;
  /** @type {AbortController|undefined} */
  #joined; // of the microphone's side
  /** @type {AbortController|undefined} */
  #following; // of the event stream

  /** @param {Options} options */
  constructor(options) {
    super();
    if (!validRoom(options.room)) throw new VerbatimError('bad-room');
    this.#o = options;
    this.api = new Api(options);
    this.participant = options.participant || randomParticipant();
    this.#input = new Input({
      audio: options.audio,
      deviceId: options.deviceId,
      muted: options.muted,
      getUserMedia: options.getUserMedia,
      connection: () => this.#publisher?.connection,
      onTrack: (track) => this.#publisher?.use(track),
      onDevices: (devices) => this.#emit('devices', devices),
      onLevel: (level) => this.#emit('level', level),
      onError: (err) => this.#emit('error', err),
    });
  }

  /** The microphones that there are, none before the first permission. @returns {Promise<Device[]>} */
  static devices() {
    return microphones();
  }

  /** @returns {import('./state.js').State} */
  get state() {
    return this.#status.detail.state;
  }

  get muted() {
    return this.#input.muted;
  }

  /** The id of the microphone in use, "" when none is open. */
  get deviceId() {
    return this.#input.deviceId;
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
      const publisher = (this.#publisher = this.#newPublisher(signal));
      await this.#input.open();
      if (signal.aborted) return false;
      this.listen();
      return await this.#publish(publisher, signal);
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
    let reopened = false;
    follow({
      url: this.api.url(`v1/rooms/${this.#o.room}/events`).href,
      headers: () => this.api.headers(),
      signal,
      wake: networkChanges(signal),
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
        const publisher = this.#publisher;
        if (publisher && publisher.age > 5_000 && sessionGone(data.meeting, this.participant)) publisher.renew();
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
    const ended = this.#publisher?.end(this.api.authorization());
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
    this.#input.mute(on);
    this.#tell();
  }

  /**
   * Changes the microphone, in the running session if there is one.
   * @param {string} [deviceId] "" for the browser's default
   */
  async setDevice(deviceId = '') {
    await this.#input.choose(deviceId);
  }

  /**
   * A transcript, as a file's content.
   * @param {TranscriptFormat} format
   * @param {string} [meeting] by default the current one
   * @returns {Promise<Blob>}
   */
  async transcript(format, meeting) {
    return this.api.transcriptFile(this.#which(meeting), format);
  }

  /** A meeting in numbers, by default the current one. @param {string} [meeting] @returns {Promise<Stats>} */
  async stats(meeting) {
    return this.api.stats(this.#which(meeting));
  }

  /** Ends the meeting for everybody in it. @param {string} [meeting] @returns {Promise<Meeting>} */
  async end(meeting) {
    return this.api.end(this.#which(meeting));
  }

  /** Erases everything of a meeting that is over, for good. @param {string} [meeting] @returns {Promise<void>} */
  async erase(meeting) {
    return this.api.erase(this.#which(meeting));
  }

  /** A meeting as it is now, by default the current one. @param {string} [meeting] @returns {Promise<Meeting>} */
  async getMeeting(meeting) {
    return this.api.getMeeting(this.#which(meeting));
  }

  /** The meetings of this room, or of the one that is asked for. @param {PageOfRoom} [page] @returns {Promise<MeetingList>} */
  meetings(page) {
    return this.api.meetings({ room: this.#o.room, ...page });
  }

  /** What was said in this room, or in the one that is asked for. @param {string} q @param {PageOfRoom} [page] @returns {Promise<SearchResult>} */
  search(q, page) {
    return this.api.search(q, { room: this.#o.room, ...page });
  }

  #which(meeting = this.meeting?.id) {
    if (!meeting) throw new VerbatimError('no-meeting');
    return meeting;
  }

  #newPublisher(signal) {
    const endpoint = this.api.url(`v1/rooms/${this.#o.room}/whip`);
    if (this.#o.name) endpoint.searchParams.set('name', this.#o.name);
    endpoint.searchParams.set('participant', this.participant);
    return new Publisher({
      endpoint: endpoint.href,
      headers: () => this.api.headers(),
      iceServers: this.#o.iceServers ?? [],
      wake: networkChanges(signal),
      onJoined: (participant) => (this.participant = participant || this.participant),
      onUp: () => this.#set('audio', 'on'),
      onDown: (err, ms) => this.#down('audio', err, ms),
    });
  }

  // Resolves with the first connection (true) or when it was given up (false).
  #publish(publisher, signal) {
    // The page going away has to be said, or the others see a participant who
    // is not there until the server's timeout. A page that comes back out of
    // the browser's cache opens a new session.
    globalThis.addEventListener?.('pagehide', () => publisher.end(this.api.authorization()), { signal });
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
    this.#input.stop();
  }

  #stopCaptions() {
    this.#following?.abort();
    this.#following = undefined;
    this.#status.set('captions', 'off');
  }

  #event(event, data) {
    switch (event) {
      case 'state':
        // What became of one that was not finished when the stream broke?
        if (this.meeting && ['live', 'ended'].includes(this.meeting.state) && this.meeting.id !== data.meeting?.id) this.#endedUnseen(this.meeting.id);
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
        this.#retract(this.captions.settle(done.map((t) => t.id)));
      }
      // falls through
      case 'joined':
      case 'left':
      case 'ended':
        this.meeting = after(this.meeting, event, data);
        this.#emit(event, data);
        break;
      case 'moving':
        if (data.participants.includes(this.participant)) this.#publisher?.move(data.within_ms);
        break;
      case 'erased':
        this.#retract(this.captions.forget(data.meeting));
        if (this.meeting?.id === data.meeting) this.meeting = null;
        this.#emit('erased', data);
    }
    // Whoever is in a meeting that was ended is out of it; joining again would
    // begin a new one, which is for people to decide.
    if (event === 'ended' && this.#joined && data.meeting === this.meeting?.id) {
      this.#stopAudio();
      this.#status.finish('left', { message: 'The meeting has ended.', code: 'ended' });
      this.#tell();
    }
  }

  #retract(segments) {
    for (const { id } of segments) this.#emit('retract', { id });
  }

  // The meeting ended while the stream was down. Nobody ended it under a
  // participant who was there, so the microphone goes on, into the next one.
  async #endedUnseen(id) {
    const meeting = await this.api.getMeeting(id).catch(() => null);
    if (!meeting || meeting.state === 'live') return;
    if (this.meeting?.id === id) this.meeting = meeting;
    this.#emit('ended', { meeting: id, state: meeting.state });
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
    const detail = { ...this.#status.detail, muted: this.muted };
    const told = JSON.stringify(detail);
    if (told === this.#told) return;
    this.#told = told;
    this.#emit('state', detail);
  }

  /** @template {keyof Events} K @param {K} type @param {Events[K]} detail */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
