/** What was heard: the sentence, what is missing, and the account of every second. */

import { $, el, setText, show } from './dom.js';
import { Missing } from './missing.js';
import { account, clock, coverageSentence, missingSentence, span } from './words.js';

export class CoverageView {
  #missing;

  /** @param {(meeting: string) => Promise<any>} transcript fetches it, with everything of it */
  constructor(transcript) {
    this.#missing = new Missing(transcript);
  }

  /**
   * @param {any} meeting
   * @param {boolean} [away] whether nobody transcribes at the moment
   */
  render(meeting, away = false) {
    const c = meeting.coverage;
    const live = meeting.state === 'live';
    const behind = away ? Infinity : Math.max(0, ...meeting.tracks.map((t) => t.coverage?.pending_ms ?? 0));
    setText($('coverage-sentence'), coverageSentence(c, live, behind));
    const missing = missingSentence(c);
    setText($('coverage-missing'), missing);
    show($('coverage-missing'), missing !== '');
    // Once the meeting is over, what nobody has transcribed yet is missing, too.
    this.#missing.render(meeting, missing !== '' || (!live && c?.pending_ms > 0));
    if (!c?.duration_ms) return;
    $('coverage-table').replaceChildren(accountTable(c), speakersTable(meeting));
  }
}

function accountTable(c) {
  const line = ([key, name, why, loss]) =>
    el(
      'tr',
      { className: loss && c[key] > 0 ? 'bad' : '', data: { key } },
      el('th', { scope: 'row' }, name, el('small', {}, why)),
      el('td', {}, c[key] === 0 ? '–' : span(c[key])),
    );
  const sum = () => el('tr', { className: 'sum' }, el('th', { scope: 'row' }, 'Together'), el('td', {}, span(c.duration_ms)));
  return el(
    'table',
    {},
    el('caption', {}, 'How it arrived, and what became of it'),
    el('tbody', {}, ...account.arrived.map(line), sum()),
    el('tbody', {}, ...account.transcribed.map(line), sum()),
  );
}

function speakersTable(meeting) {
  const rows = meeting.participants.map((p) => {
    const tracks = meeting.tracks.filter((t) => t.participant === p.id && t.coverage);
    const of = (key) => tracks.reduce((ms, t) => ms + (t.coverage[key] ?? 0), 0);
    const lost = of('concealed_ms') + of('discontinuity_ms') + of('shed_ms') + of('skipped_ms');
    return el(
      'tr',
      { className: lost > 0 ? 'bad' : '' },
      el('th', { scope: 'row' }, p.name || 'Someone'),
      el('td', {}, clock(of('duration_ms'))),
      el('td', {}, lost > 0 ? span(lost) : '–'),
    );
  });
  const head = ['Speaker', 'Sent', 'Missing'].map((h, i) => el(i ? 'td' : 'th', i ? {} : { scope: 'col' }, h));
  return el('table', {}, el('caption', {}, 'By speaker'), el('thead', {}, el('tr', {}, ...head)), el('tbody', {}, ...rows));
}
