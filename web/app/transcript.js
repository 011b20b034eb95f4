/** The transcript of a meeting: follows the audio, and jumps in it. */

import { $, el, setText, show } from './dom.js';
import { meetingPage } from './links.js';
import { clock, marks, pieces } from './words.js';

// Of one speaker, what follows within this time stands under the same name.
const sameBreathMs = 20_000;
// Meetings of a day have ten thousand segments. The browser leaves out parts that
// are not on the screen (content-visibility), and gets some parts at a time.
const part = 100;
const partsAtOnce = 8;

export class TranscriptView {
  #list = $('transcript');
  #scroller = $('scroller');
  #jump = $('jump');
  #segments = [];
  #items = []; // of the segments, as far as they are made
  #longest = 0; // ms of the longest segment
  #current = new Set(); // indices of what is being said
  #latest = -1;
  #follow = true;
  #found = ''; // what is looked for
  #made = Promise.resolve();
  #making = 0;
  #o;

  /**
   * @param {object} o
   * @param {string} o.meeting its id
   * @param {(participant: string) => number} o.colorOf
   * @param {(ms: number) => void} o.seek
   */
  constructor(o) {
    this.#o = o;
    this.#list.addEventListener('click', (e) => this.#clicked(e));
    for (const event of ['wheel', 'touchmove']) this.#scroller.addEventListener(event, () => this.#away(), { passive: true });
    this.#scroller.addEventListener('keydown', (e) => {
      if (['ArrowUp', 'ArrowDown', 'PageUp', 'PageDown', 'Home', 'End'].includes(e.key)) this.#away();
    });
    this.#scroller.addEventListener('pointerdown', (e) => e.target === this.#scroller && this.#away()); // its scroll bar
    this.#jump.addEventListener('click', () => this.follow());
  }

  /** @param {any[]} segments in order of their start */
  render(segments) {
    this.#segments = segments;
    this.#items = [];
    this.#current.clear();
    this.#latest = -1;
    this.#longest = segments.reduce((ms, s) => Math.max(ms, s.end_ms - s.start_ms), 0);
    this.#list.replaceChildren();
    this.#made = this.#make(++this.#making);
    return this.#made;
  }

  async #make(making) {
    while (this.#items.length < this.#segments.length) {
      for (let n = 0; n < partsAtOnce; n++) this.#makePart(this.#items.length);
      await new Promise((resolve) => setTimeout(resolve));
      if (making !== this.#making) return;
    }
  }

  #makePart(from) {
    const items = this.#segments.slice(from, from + part).map((s, i) => this.#item(s, this.#segments[from + i - 1]));
    if (items.length === 0) return;
    this.#items.push(...items);
    this.#list.append(el('ol', { className: 'captions part' }, ...items));
    if (this.#found) items.forEach((_, i) => this.#filter(from + i));
  }

  #item(s, before) {
    const who = s.participant.name || 'Someone';
    const time = el('a', { className: 'at', href: meetingPage(this.#o.meeting, s.start_ms) }, clock(s.start_ms));
    time.setAttribute('aria-label', `Play from ${clock(s.start_ms)}, ${who}`);
    const same = before?.participant.id === s.participant.id && s.start_ms - before.start_ms < sameBreathMs;
    return el(
      'li',
      {
        className: same ? 'caption same' : 'caption',
        data: { id: s.id, speaker: s.participant.name, start: s.start_ms, end: s.end_ms, testid: 'segment' },
      },
      time,
      el('div', { className: 'who' }, el('span', { className: 'name', data: { color: this.#o.colorOf(s.participant.id) } }, who)),
      el('p', { className: 'words' }, s.text),
    );
  }

  /** Marks what is said at a time. @param {number} ms */
  at(ms) {
    const now = new Set();
    const last = lastBefore(this.#segments, ms);
    for (let i = last; i >= 0 && this.#segments[i].start_ms >= ms - this.#longest; i--) {
      if (this.#segments[i].end_ms > ms) now.add(i);
    }
    for (const i of this.#current) if (!now.has(i)) this.#mark(i, false);
    for (const i of now) {
      if (!this.#current.has(i)) this.#mark(i, true);
      this.#markWord(i, ms);
    }
    this.#current = now;
    if (last !== this.#latest) {
      this.#latest = last;
      if (this.#follow) this.#show(last);
    }
  }

  /** Shows what is at a time, and goes on following. @param {number} ms */
  async jumpTo(ms) {
    await this.#made;
    this.at(ms);
    this.follow();
  }

  follow() {
    this.#follow = true;
    show(this.#jump, false);
    this.#show(this.#latest);
  }

  /**
   * Leaves only the segments with this text.
   * @param {string} text "" for all
   * @returns {number} how many there are
   */
  find(text) {
    this.#found = text.trim().toLowerCase();
    this.#list.classList.toggle('finding', this.#found !== '');
    let count = 0;
    for (let i = 0; i < this.#items.length; i++) if (this.#filter(i)) count++;
    if (!this.#found && this.#follow) this.#show(this.#latest);
    return count;
  }

  #filter(i) {
    const { text } = this.#segments[i];
    const parts = marks(text, this.#found);
    const item = this.#items[i];
    const has = !this.#found || parts.length > 1;
    show(item, has);
    if (has && (this.#found || item.dataset.marked)) {
      item.dataset.split = '';
      item.dataset.marked = this.#found ? 'true' : '';
      item.querySelector('.words').replaceChildren(...parts.map((p, n) => (n % 2 ? el('mark', {}, p) : p)));
    }
    return has;
  }

  #mark(i, on) {
    const item = this.#items[i];
    if (!item) return;
    item.classList.toggle('now', on);
    if (on) item.setAttribute('aria-current', 'time');
    else item.removeAttribute('aria-current');
    if (!on) item.querySelector('.word.now')?.classList.remove('now');
  }

  #markWord(i, ms) {
    const item = this.#items[i];
    if (!item || this.#found) return;
    this.#split(i);
    const words = [...item.querySelectorAll('.word')];
    const word = words.findLast((w) => w.dataset.start <= ms);
    const before = item.querySelector('.word.now');
    if (word === before) return;
    before?.classList.remove('now');
    word?.classList.add('now');
  }

  // Words of their own only where somebody needs them: there are too many.
  #split(i) {
    const item = this.#items[i];
    const { text, words } = this.#segments[i];
    if (item.dataset.split || !words) return;
    item.dataset.split = 'true';
    setText(item.querySelector('.words'), '');
    item
      .querySelector('.words')
      .append(...pieces(text, words).map((p) => (p.start_ms === undefined ? p.text : el('span', { className: 'word', data: { start: p.start_ms } }, p.text))));
  }

  #clicked(e) {
    const item = e.target.closest('.caption');
    const i = this.#items.indexOf(item);
    const link = e.target.closest('a');
    if (i < 0 || (link && (e.ctrlKey || e.metaKey || e.shiftKey)) || (!link && !e.target.closest('.words'))) return;
    if (!link && !getSelection().isCollapsed) return; // to be copied
    e.preventDefault();
    let ms = this.#segments[i].start_ms;
    if (!link && !this.#found) {
      this.#split(i);
      const word = document.elementFromPoint(e.clientX, e.clientY)?.closest('.word');
      if (word) ms = Number(word.dataset.start);
    }
    this.#follow = true;
    show(this.#jump, false);
    this.#o.seek(ms);
  }

  #away() {
    if (this.#current.size === 0) return;
    this.#follow = false;
    show(this.#jump, true);
  }

  // Moves only if it has to: what jumps all the time cannot be read.
  #show(i) {
    const item = this.#items[i];
    if (!item || item.hidden) return;
    const box = this.#scroller.getBoundingClientRect();
    const { top, bottom } = item.getBoundingClientRect();
    if (top < box.top + box.height * 0.1 || bottom > box.bottom - box.height * 0.2) item.scrollIntoView({ block: 'center' });
  }
}

// The index of the last segment that begins at ms or before it, -1 for none.
function lastBefore(segments, ms) {
  let [from, to] = [0, segments.length];
  while (from < to) {
    const mid = (from + to) >> 1;
    if (segments[mid].start_ms <= ms) from = mid + 1;
    else to = mid;
  }
  return from - 1;
}
