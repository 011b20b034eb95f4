/** Where something is missing: fetched when someone wants to know. */

import { $, el, setText, show } from './dom.js';
import { missingPlaces } from './words.js';

export class Missing {
  #fetch;
  #meeting;
  #asked = 0;

  /** @param {(meeting: string) => Promise<any>} fetch the transcript with everything of it */
  constructor(fetch) {
    this.#fetch = fetch;
    $('missing').addEventListener('toggle', () => this.#read());
  }

  /**
   * @param {any} meeting
   * @param {boolean} some whether something is missing
   */
  render(meeting, some) {
    const before = this.#meeting;
    this.#meeting = meeting;
    show($('missing'), some);
    if (before?.id !== meeting.id) this.#clear();
    // Once more when it has ended, and when its transcript is finished.
    if (before?.id !== meeting.id || before.state !== meeting.state) this.#read();
  }

  #clear() {
    setText($('missing-sum'), '');
    $('missing-list').replaceChildren();
    show($('missing-more'), false);
  }

  async #read() {
    if ($('missing').hidden || !$('missing').open) return;
    const { id, state } = this.#meeting;
    const asked = ++this.#asked;
    if (!$('missing-sum').textContent) setText($('missing-sum'), 'One moment…');
    const transcript = await this.#fetch(id).catch((err) => err);
    if (asked !== this.#asked) return; // asked again meanwhile
    if (transcript instanceof Error) {
      this.#clear();
      setText($('missing-sum'), `${transcript.message} Open this once more to try again.`);
      return;
    }
    const now = new Date().toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    const { places, more, sum } = missingPlaces(transcript, state === 'live');
    setText($('missing-sum'), state === 'live' ? `${sum} (as of ${now})` : sum);
    $('missing-list').replaceChildren(
      ...places.map((p) =>
        el(
          'li',
          { data: { testid: 'missing-place' } },
          el('span', { className: 'name' }, p.who),
          el('span', { className: 'at' }, p.at),
          el('span', { className: 'much' }, p.much),
          el('small', {}, p.why),
        ),
      ),
    );
    setText($('missing-more'), more);
    show($('missing-more'), more !== '');
  }
}
