/** What a client's state is, from its two sides: the microphone's and the captions'. Pure. */

/**
 * - idle: nothing was asked for yet
 * - connecting: on the way for the first time
 * - connected: all that was asked for is there
 * - reconnecting: it was there, and is being tried again
 * - left: left on request, or the meeting has ended
 * - failed: given up; trying again by itself would not help
 * @typedef {'idle'|'connecting'|'connected'|'reconnecting'|'left'|'failed'} State
 */

/**
 * One side: the microphone's session, or the caption stream.
 * @typedef {'off'|'connecting'|'on'|'reconnecting'|'failed'} Side
 */

/**
 * @typedef {object} StateDetail
 * @property {State} state
 * @property {string} reason why it is not connected, a sentence; "" where there is nothing to say
 * @property {string} code the reason's stable code, or ""
 * @property {Side} audio
 * @property {Side} captions
 */

/** @import { Meeting } from './shapes.js' */

/** @type {{side: Side, reason: string, code: string}} */
const fine = { side: 'off', reason: '', code: '' };

/** Puts the state together from what happens to the sides. */
export class Status {
  /** @type {'nothing'|'join'|'listen'|'left'|'failed'} */
  #wanted = 'nothing';
  #why = fine; // of left and failed
  #sides = { audio: fine, captions: fine };

  /** @param {'join'|'listen'} what */
  want(what) {
    this.#wanted = what;
  }

  /**
   * @param {'audio'|'captions'} name
   * @param {Side} side
   * @param {{message: string, code: string}} [err]
   */
  set(name, side, err) {
    this.#sides[name] = { side, reason: err?.message ?? '', code: err?.code ?? '' };
  }

  /**
   * A side lost its connection, or did not get one.
   * @param {'audio'|'captions'} name
   * @param {{message: string, code: string}} err
   * @param {number} waitMs until the next attempt
   * @returns {boolean} whether that is news: not at each attempt, and not when
   *   the other side has just lost the same server
   */
  down(name, err, waitMs) {
    const before = this.#sides[name];
    const other = this.#sides[name === 'audio' ? 'captions' : 'audio'];
    const again = waitMs < 2_000 ? 'Trying again.' : `Trying again in ${Math.round(waitMs / 1000)} seconds.`;
    this.set(name, before.side === 'connecting' ? 'connecting' : 'reconnecting', {
      message: `${err.message} ${again}`,
      code: err.code,
    });
    return before.code !== err.code && other.code !== err.code;
  }

  /**
   * @param {'left'|'failed'} how
   * @param {{message: string, code: string}} [err]
   */
  finish(how, err) {
    this.#wanted = how;
    this.#why = { side: 'off', reason: err?.message ?? '', code: err?.code ?? '' };
    this.#sides.audio = fine;
  }

  get wanted() {
    return this.#wanted;
  }

  /** @returns {StateDetail} */
  get detail() {
    const { audio, captions } = this.#sides;
    const state = stateOf(this.#wanted, audio.side, captions.side);
    const over = state === 'left' || state === 'failed';
    const { reason, code } = over ? this.#why : audio.reason ? audio : captions;
    return { state, reason, code, audio: audio.side, captions: captions.side };
  }
}

/**
 * @param {'nothing'|'join'|'listen'|'left'|'failed'} wanted
 * @param {Side} audio
 * @param {Side} captions
 * @returns {State}
 */
export function stateOf(wanted, audio, captions) {
  switch (wanted) {
    case 'nothing':
      return 'idle';
    case 'left':
    case 'failed':
      return wanted;
  }
  // Captions that the server refuses to show are no reason to say that the
  // microphone is not connected: what is said still gets into the transcript.
  const parts = wanted === 'join' ? [audio, captions === 'failed' ? 'on' : captions] : [captions];
  if (parts.includes('reconnecting')) return 'reconnecting';
  return parts.every((p) => p === 'on') ? 'connected' : 'connecting';
}

/**
 * Whether the server has no open track of this participant, though this side
 * still believes to be connected: a server that was restarted answers the event
 * stream long before ICE notices that its session is gone.
 * @param {Meeting|null} meeting
 * @param {string} participant
 */
export function sessionGone(meeting, participant) {
  return !meeting?.tracks?.some((t) => t.participant === participant && t.state === 'live');
}

/**
 * The meeting after an event that tells of a part of it.
 * @param {Meeting|null} meeting
 * @param {string} event
 * @param {any} data
 * @returns {Meeting|null} a new object, or the same where nothing changed
 */
export function after(meeting, event, data) {
  if (!meeting || data.meeting !== meeting.id) return meeting;
  switch (event) {
    case 'joined':
    case 'left':
      return { ...meeting, participants: merge(meeting.participants, [data.participant]) };
    case 'coverage':
      return { ...meeting, coverage: data.coverage, tracks: merge(meeting.tracks, data.tracks.map(whole)) };
    case 'ended':
      return { ...meeting, state: data.state };
    default:
      return meeting;
  }
}

// What an account does not say of a track is not so any more.
function whole(track) {
  return { transcription: undefined, ...track };
}

// Keeps the order of those that are known: speakers' colours hang on it.
function merge(list, changes) {
  const merged = new Map((list ?? []).map((x) => [x.id, x]));
  for (const x of changes ?? []) merged.set(x.id, { ...merged.get(x.id), ...x });
  return [...merged.values()];
}

/** @param {string} name */
export function validRoom(name) {
  return /^[a-z0-9][a-z0-9_-]{0,63}$/.test(name);
}

/** A participant id: 128 random bits. getRandomValues, unlike randomUUID, is there on insecure pages too. */
export function randomParticipant() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}
