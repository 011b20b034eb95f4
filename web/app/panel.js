/** Who is there, what was heard, and the downloads. */

import { CoverageView } from './coverage.js';
import { $, colors, el, setText, show } from './dom.js';
import { formats, transcriptLink } from './links.js';
import { speakerWords } from './recognizer.js';

export class Panel {
  #order = new Map(); // participant → colour
  #self;
  #linked = '';
  #coverage;

  /**
   * @param {() => string} self this participant's id
   * @param {(meeting: string) => Promise<any>} transcript fetches it, with everything of it
   */
  constructor(self, transcript) {
    this.#self = self;
    this.#coverage = new CoverageView(transcript);
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
    this.#coverage.render(meeting, speakers.some((s) => s.condition === 'away'));
    this.#downloads(meeting);
  }

  #people(meeting, speakers) {
    const over = meeting.state !== 'live';
    const items = meeting.participants.map((p) => {
      const present = !p.left_at && !over;
      const transcription = speakerWords(speakers.find((s) => s.participant === p.id));
      const notes = [p.id === this.#self() ? 'you' : '', present ? '' : 'left'].filter(Boolean);
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

  #downloads(meeting) {
    if (this.#linked === meeting.id) return;
    this.#linked = meeting.id;
    show($('downloads-hint'), false);
    for (const list of document.querySelectorAll('[data-downloads]')) {
      list.replaceChildren(...formats.map((format) => el('li', {}, transcriptLink(meeting, format))));
    }
  }
}
