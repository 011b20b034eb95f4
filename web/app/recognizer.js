/**
 * What the page says of the recognizer: which of its states are worth a word,
 * and from when on. Pure: no DOM, no clock.
 */

import { keepingUpMs, names, span } from './words.js';

/**
 * What a speaker's transcription is, as far as people care.
 * @typedef {'fine'|'fallback'|'behind'|'waiting'|'away'} Condition
 */

/** From the best to the worst. @type {Condition[]} */
const order = ['fine', 'fallback', 'behind', 'waiting', 'away'];

/** @param {any} track @returns {Condition} */
export function condition(track) {
  const t = track.transcription;
  const behind = (track.coverage?.pending_ms ?? 0) >= keepingUpMs;
  switch (t?.state) {
    case 'retrying':
    case 'circuit_open':
      return 'away';
    case 'opening':
      return t.retries > 0 ? 'away' : 'fine';
    case 'waiting':
      return behind ? 'waiting' : 'fine';
    case 'catching_up':
    case 'finishing':
      return behind ? 'behind' : 'fine';
    case 'fallback':
      return 'fallback';
    default:
      return 'fine';
  }
}

// How long something has to last until it is shown: what is over in a second or
// two needs no words, and a recognizer that dies as soon as it is there is not
// back.
const holdMs = { away: 3_000, waiting: 3_000, behind: 2_000, fallback: 1_000, fine: 2_000 };

/** Shows a condition once it has lasted. */
export class Steady {
  /** @type {Condition} */
  #shown = 'fine';
  #next;
  #since = 0;

  /**
   * @param {Condition} seen now
   * @param {number} now ms
   * @returns {Condition} to show
   */
  see(seen, now) {
    if (seen === this.#shown) {
      this.#next = undefined;
    } else if (seen !== this.#next) {
      this.#next = seen;
      this.#since = now;
    } else if (now - this.#since >= holdMs[seen]) {
      this.#shown = seen;
      this.#next = undefined;
    }
    return this.#shown;
  }

  /** Whether time alone may change what is shown. */
  get undecided() {
    return this.#next !== undefined;
  }
}

/**
 * @typedef {object} Speaker
 * @property {string} participant id
 * @property {string} name
 * @property {Condition} condition the worst of their tracks'
 * @property {number} behindMs how far the slowest of their tracks is behind
 * @property {string} engine of the track with the worst condition
 */

/** Follows the tracks of a meeting. */
export class Recognizer {
  #steady = new Map(); // by track

  /**
   * @param {any} meeting
   * @param {number} now ms
   * @returns {Speaker[]} of whom something is being transcribed
   */
  speakers(meeting, now) {
    const running = meeting?.tracks?.filter((t) => t.transcription) ?? [];
    const known = this.#steady;
    this.#steady = new Map(running.map((t) => [t.id, known.get(t.id) ?? new Steady()]));
    const speakers = new Map();
    for (const t of running) {
      const shown = this.#steady.get(t.id).see(condition(t), now);
      const s = speakers.get(t.participant) ?? { participant: t.participant, name: nameOf(meeting, t.participant), condition: 'fine', behindMs: 0, engine: t.transcription.engine };
      if (order.indexOf(shown) > order.indexOf(s.condition)) Object.assign(s, { condition: shown, engine: t.transcription.engine });
      s.behindMs = Math.max(s.behindMs, t.coverage?.pending_ms ?? 0);
      speakers.set(t.participant, s);
    }
    return [...speakers.values()];
  }

  /** Whether time alone may change what is shown. */
  get undecided() {
    return [...this.#steady.values()].some((s) => s.undecided);
  }
}

function nameOf(meeting, participant) {
  return meeting.participants.find((p) => p.id === participant)?.name || 'Someone';
}

const kept = 'everything is kept and will be transcribed as soon as';

/**
 * The one sentence for all who speak: the worst that there is. amount, which
 * grows and shrinks all the time, is apart from it, so that it need not be read
 * out each second.
 * @param {Speaker[]} speakers
 * @returns {{condition: Condition, text: string, amount: string}}
 */
export function sentence(speakers) {
  const worst = speakers.reduce((c, s) => order[Math.max(order.indexOf(c), order.indexOf(s.condition))], 'fine');
  const who = speakers.filter((s) => s.condition === worst);
  const all = who.length === speakers.length;
  const say = (text, amount = '') => ({ condition: worst, text, amount });
  const whom = names(who.map((s) => s.name));
  switch (worst) {
    case 'away':
      return say(`The recognizer cannot be reached${all ? '' : ` for ${whom}`}; ${kept} it is back.`);
    case 'waiting':
      return say(`The recognizer is busy with others; what ${all ? 'is said' : `${whom} said`} is kept and will be transcribed.`);
    case 'behind':
      return say(`Catching up${all ? '' : ` with ${whom}`}`, `: ${span(Math.max(...who.map((s) => s.behindMs)))} behind`);
    case 'fallback':
      return say(`Transcribed by the fallback${who[0].engine ? ` (${who[0].engine})` : ''}${all ? '' : ` for ${whom}`}`);
    default:
      return say('');
  }
}

/** The same for one speaker, in few words. @param {Speaker|undefined} s */
export function speakerWords(s) {
  switch (s?.condition) {
    case 'away':
      return `recognizer away, ${span(s.behindMs)} kept for it`;
    case 'waiting':
      return `waits for the recognizer, ${span(s.behindMs)} behind`;
    case 'behind':
      return `catching up, ${span(s.behindMs)} behind`;
    case 'fallback':
      return `by the fallback${s.engine ? ` (${s.engine})` : ''}${s.behindMs >= keepingUpMs ? `, ${span(s.behindMs)} behind` : ''}`;
    default:
      return '';
  }
}
