/** Who is there, what was heard, and the downloads. */

import { $, el, setText, show } from './dom.js';
import { Missing } from './missing.js';
import { speakerWords } from './recognizer.js';
import { account, clock, coverageSentence, missingSentence, span } from './words.js';

const colors = 8;

export class Panel {
  #order = new Map(); // participant → colour
  #self;
  #download;
  #linked = '';
  #missing;

  /**
   * @param {string} self this participant's id
   * @param {(event: MouseEvent, format: string, meeting: string) => void} download
   * @param {(meeting: string) => Promise<any>} transcript fetches it, with everything of it
   */
  constructor(self, download, transcript) {
    this.#self = self;
    this.#download = download;
    this.#missing = new Missing(transcript);
  }

  /** A colour for each, by the order in which they came. */
  colorOf = (participant) => {
    if (!this.#order.has(participant)) this.#order.set(participant, this.#order.size % colors);
    return this.#order.get(participant);
  };

  /**
   * @param {any} meeting
   * @param {import('./recognizer.js').Speaker[]} speakers
   */
  render(meeting, speakers) {
    if (!meeting) return;
    for (const p of meeting.participants) this.colorOf(p.id);
    this.#people(meeting, speakers);
    this.#coverage(meeting, speakers.some((s) => s.condition === 'away'));
    this.#downloads(meeting);
  }

  #people(meeting, speakers) {
    const over = meeting.state !== 'live';
    const items = meeting.participants.map((p) => {
      const present = !p.left_at && !over;
      const transcription = speakerWords(speakers.find((s) => s.participant === p.id));
      const notes = [p.id === this.#self ? 'you' : '', present ? '' : 'left'].filter(Boolean);
      return el(
        'li',
        { data: { participant: p.id, present, testid: 'person' } },
        el('span', { className: 'dot', data: { color: this.colorOf(p.id) } }),
        el('span', { className: 'name' }, p.name || 'Someone'),
        ...notes.map((n) => el('span', { className: 'note' }, n)),
        ...(transcription ? [el('span', { className: 'transcription', data: { testid: 'transcription' } }, transcription)] : []),
      );
    });
    $('people').replaceChildren(...items);
    setText($('people-title'), over ? 'Who was there' : 'In the room');
  }

  #coverage(meeting, away) {
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
    $('coverage-table').replaceChildren(this.#account(c), this.#bySpeaker(meeting));
  }

  #account(c) {
    const line = ([key, name, why, loss]) =>
      el(
        'tr',
        { className: loss && c[key] > 0 ? 'bad' : '', data: { key } },
        el('th', { scope: 'row' }, name, el('small', {}, why)),
        el('td', {}, c[key] === 0 ? '–' : span(c[key])),
      );
    const sum = () =>
      el('tr', { className: 'sum' }, el('th', { scope: 'row' }, 'Together'), el('td', {}, span(c.duration_ms)));
    return el(
      'table',
      {},
      el('caption', {}, 'How it arrived, and what became of it'),
      el('tbody', {}, ...account.arrived.map(line), sum()),
      el('tbody', {}, ...account.transcribed.map(line), sum()),
    );
  }

  #bySpeaker(meeting) {
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

  #downloads(meeting) {
    if (this.#linked === meeting.id) return;
    this.#linked = meeting.id;
    show($('downloads-hint'), false);
    for (const list of document.querySelectorAll('[data-downloads]')) {
      list.replaceChildren(...['txt', 'vtt', 'srt', 'json'].map((format) => el('li', {}, this.link(meeting, format))));
    }
  }

  /** @param {any} meeting @param {'txt'|'vtt'|'srt'|'json'} format */
  link(meeting, format) {
    const names = { txt: 'Text', vtt: 'WebVTT', srt: 'SubRip', json: 'JSON' };
    const a = el(
      'a',
      {
        href: `/v1/meetings/${meeting.id}/transcript.${format}`,
        download: `${meeting.room}-${meeting.id}.${format}`,
        data: { format, testid: `download-${format}` },
      },
      names[format],
    );
    a.setAttribute('aria-label', `Transcript as ${names[format]}`);
    a.addEventListener('click', (e) => this.#download(e, format, meeting.id));
    return a;
  }
}
