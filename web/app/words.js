/** What the page says about numbers and states. Pure. */

/** @param {number} ms @returns {string} 3:12, 1:02:03 */
export function clock(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const pad = (n) => String(n).padStart(2, '0');
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes}:${pad(s % 60)}`;
  return `${Math.floor(minutes / 60)}:${pad(minutes % 60)}:${pad(s % 60)}`;
}

/** A length of time that may be short: "0.4 s", "12 s", "1:05". */
export function span(ms) {
  if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 59_500) return `${Math.round(ms / 1000)} s`;
  return clock(ms);
}

// Recognizers hand an utterance over when it has ended, so while people speak
// the transcript is always some seconds behind.
export const keepingUpMs = 15_000;

/**
 * How much was heard and how much of it is in the transcript.
 * @param {object|undefined} c coverage
 * @param {boolean} live whether audio still comes in
 * @param {number} [behind] how far the slowest speaker's transcript is behind, in ms;
 *   Infinity while nobody transcribes
 */
export function coverageSentence(c, live, behind = c?.pending_ms) {
  if (!c?.duration_ms) return 'Nothing heard yet.';
  const heard = c.duration_ms - c.concealed_ms - c.discontinuity_ms - c.shed_ms;
  const begin = `${clock(heard)} heard`;
  if (c.pending_ms > 0 && (!live || behind >= keepingUpMs)) return `${begin}, ${span(c.pending_ms)} of it still to be transcribed.`;
  if (live && c.pending_ms > 0 && !c.skipped_ms) return `${begin}, the transcript keeps up.`;
  const so = live ? ' so far' : '';
  if (c.skipped_ms > 0) return `${begin}, all but ${span(c.skipped_ms)} of it transcribed${so}.`;
  return `${begin}, all of it transcribed${so}.`;
}

/**
 * What is not there, "" where nothing is missing.
 * @param {object|undefined} c coverage
 */
export function missingSentence(c) {
  if (!c) return '';
  const parts = [];
  const lost = c.concealed_ms + c.discontinuity_ms;
  if (lost > 0) parts.push(`${span(lost)} lost on the way to the server`);
  if (c.shed_ms > 0) parts.push(`${span(c.shed_ms)} given up by the server`);
  if (c.skipped_ms > 0) parts.push(`${span(c.skipped_ms)} not transcribed`);
  return parts.length ? `Missing: ${parts.join(', ')}.` : '';
}

// More places than this help nobody; the transcript as JSON has all.
const placesAtMost = 20;

/**
 * Where something is missing, in words.
 * @param {any} transcript as GET …/transcript.json gives it
 * @param {boolean} live then what is pending is no loss
 * @returns {{places: {who: string, at: string, much: string, why: string}[], more: string, sum: string}}
 */
export function missingPlaces({ meeting, missing }, live) {
  const all = (missing ?? []).filter((m) => !live || m.kind !== 'pending');
  if (all.length === 0) return { places: [], more: '', sum: 'Nothing is missing.' };
  const who = (m) => {
    const track = meeting.tracks.find((t) => t.id === m.track);
    return meeting.participants.find((p) => p.id === track?.participant)?.name || 'Someone';
  };
  const much = (m) => m.missing_ms ?? m.end_ms - m.start_ms;
  const places = all.slice(0, placesAtMost).map((m) => {
    const [from, to] = [clock(m.start_ms), clock(m.end_ms)];
    return { who: who(m), at: from === to ? from : `${from}–${to}`, much: span(much(m)), why: m.reason };
  });
  const rest = all.length - places.length;
  const sum = span(all.reduce((ms, m) => ms + much(m), 0));
  return {
    places,
    more: rest > 0 ? `and ${rest} more` : '',
    sum: all.length === 1 ? `${sum} in one place` : `${sum} in ${all.length} places`,
  };
}

// Longer lists of names are not read.
const namesAtMost = 3;

/** @param {string[]} list @returns {string} "Ada, Grace and 2 others" */
export function names(list) {
  const said = list.length > namesAtMost ? [...list.slice(0, namesAtMost - 1), `${list.length - namesAtMost + 1} others`] : list;
  return said.length < 2 ? said.join('') : `${said.slice(0, -1).join(', ')} and ${said.at(-1)}`;
}

/** The lines of the account: [key, name, explanation, whether it means a loss]. */
export const account = {
  arrived: [
    ['received_ms', 'Received', 'arrived as it was sent', false],
    ['recovered_ms', 'Recovered', 'lost on the way, got back in time', false],
    ['silence_ms', 'Silence', 'nothing was sent, nothing was said', false],
    ['concealed_ms', 'Concealed', 'lost on the way, bridged by a guess', true],
    ['discontinuity_ms', 'Break', 'the microphone’s clock jumped', true],
    ['shed_ms', 'Given up', 'arrived, but could not be kept', true],
  ],
  transcribed: [
    ['transcribed_ms', 'Transcribed', 'listened to, its words are there', false],
    ['pending_ms', 'Pending', 'still to be transcribed', false],
    ['skipped_ms', 'Skipped', 'could not be transcribed', true],
  ],
};

/** The state in a word or two. */
export function stateWords({ state, code, captions, muted }, speaking) {
  switch (state) {
    case 'idle':
      return 'Not connected';
    case 'connecting':
      return 'Connecting…';
    case 'connected':
      if (captions === 'failed') return 'Live, without captions';
      if (!speaking) return 'Reading along';
      return muted ? 'Muted' : 'Live';
    case 'reconnecting':
      return 'Reconnecting…';
    case 'left':
      return code === 'ended' ? 'Ended' : 'Left';
    default:
      return 'Not connected';
  }
}

/**
 * What is said when one has left or the meeting is over.
 * @param {'live'|'ended'|'complete'|'incomplete'|undefined} meeting
 */
export function afterWords(meeting) {
  switch (meeting) {
    case 'ended':
      return 'The meeting has ended. The last words are still being transcribed.';
    case 'complete':
      return 'The meeting has ended. The transcript is complete.';
    case 'incomplete':
      return 'The meeting has ended. The transcript is not complete: the details say what is missing.';
    case 'live':
      return 'You have left. The captions go on while the meeting lasts.';
    default:
      return 'You have left.';
  }
}

/**
 * A text in pieces, with the times of the words that are found in it in their
 * order; together they are the text.
 * @param {string} text
 * @param {{text: string, start_ms: number}[]} words
 * @returns {{text: string, start_ms?: number}[]}
 */
export function pieces(text, words) {
  const said = text.toLowerCase();
  if (said.length !== text.length) return [{ text }]; // letters that are two in lower case
  const all = [];
  let end = 0;
  for (const w of words) {
    const at = said.indexOf(w.text.toLowerCase(), end);
    if (at < 0 || w.text === '') continue;
    if (at > end) all.push({ text: text.slice(end, at) });
    end = at + w.text.length;
    all.push({ text: text.slice(at, end), start_ms: w.start_ms });
  }
  if (end < text.length) all.push({ text: text.slice(end) });
  return all;
}

/**
 * A text cut at what is looked for: each second part is it.
 * @param {string} text
 * @param {string} found in lower case, "" for nothing
 * @returns {string[]}
 */
export function marks(text, found) {
  const said = text.toLowerCase();
  const parts = [];
  let end = 0;
  for (let at; found && said.length === text.length && (at = said.indexOf(found, end)) >= 0; end = at + found.length) {
    parts.push(text.slice(end, at), text.slice(at, at + found.length));
  }
  return [...parts, text.slice(end)];
}

/**
 * A text cut at the words of a search, of which the last may be the beginning of
 * one: each second part is one of them.
 * @param {string} text
 * @param {string} query
 * @returns {string[]}
 */
export function searchMarks(text, query) {
  const words = query.match(/[\p{L}\p{N}]+/gu) ?? [];
  if (words.length === 0) return [text];
  const whole = words.map((w, i) => (i < words.length - 1 ? `${w}(?![\\p{L}\\p{N}])` : w));
  return text.split(new RegExp(`(?<![\\p{L}\\p{N}])(${whole.join('|')})`, 'giu'));
}

/** @param {number} x 0 to 1 */
export function percent(x) {
  return `${Math.round(100 * x)} %`;
}

/** The state of a meeting, in a word or two. */
export function meetingState(state) {
  return { live: 'Live now', ended: 'Being transcribed', complete: 'Complete', incomplete: 'Not complete' }[state] ?? state;
}

/** When a meeting was. @param {string} at RFC 3339 */
export function day(at) {
  return new Date(at).toLocaleString([], { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit' });
}

/**
 * How long a meeting was: until the last one left, which is before it ended, or up
 * to now if it is live.
 */
export function length(m, now) {
  const left = m.participants.map((p) => Date.parse(p.left_at));
  const end = m.state === 'live' ? now : Math.min(Date.parse(m.ended_at), ...(left.length ? [Math.max(...left)] : []));
  return clock(end - Date.parse(m.started_at));
}
