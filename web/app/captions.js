/** The captions: one list item per segment, kept in order and in place. */

import { $, el, setText, show } from './dom.js';
import { clock } from './words.js';

// Of one speaker, what follows within this time stands under the same name.
const sameBreathMs = 20_000;
// Nearer to the end than this counts as being at the end.
const nearEndPx = 48;
// A screen reader gets this many finals at once; more are a replay.
const announceAtMost = 4;

export class CaptionsView {
  #captions;
  #colorOf;
  #items = new Map();
  #list = $('captions');
  #scroller = $('scroller');
  #jump = $('jump');
  #follow = true;
  #top = 0; // where the list stood when last looked at
  #unseen = 0;
  #announce = [];
  #announceTimer;

  /**
   * @param {import('../client/captions.js').Captions} captions
   * @param {(participant: string) => number} colorOf
   */
  constructor(captions, colorOf) {
    this.#captions = captions;
    this.#colorOf = colorOf;
    this.#scroller.addEventListener('scroll', () => this.#scrolled());
    this.#jump.addEventListener('click', () => {
      this.#toEnd();
      this.#scroller.focus({ preventScroll: true });
    });
    new ResizeObserver(() => this.#follow && this.#toEnd()).observe(this.#scroller);
  }

  /** @param {import('../client/captions.js').Segment} seg */
  put(seg) {
    let item = this.#items.get(seg.id);
    const known = Boolean(item);
    if (!item) {
      item = this.#create(seg);
      this.#items.set(seg.id, item);
    }
    const becameFinal = seg.final && item.dataset.final !== 'true';
    item.dataset.final = String(seg.final);
    setText(item.querySelector('.words'), seg.text);
    setText(item.querySelector('.name'), seg.participant.name || 'Someone');
    setText(item.querySelector('time'), clock(seg.start_ms));
    this.#place(item, seg);
    if (becameFinal) this.#say(seg);
    if (this.#follow) this.#toEnd();
    else if (!known) this.#showJump(++this.#unseen);
  }

  /** @param {string} id */
  remove(id) {
    const item = this.#items.get(id);
    if (!item) return;
    const next = item.nextElementSibling;
    item.remove();
    this.#items.delete(id);
    this.#group(next);
  }

  /**
   * A new meeting begins in the room; what was said before stays above it.
   * @param {...(Node|string)} content
   */
  divide(...content) {
    if (this.#items.size > 0) this.#list.append(el('li', { className: 'divider' }, ...content));
  }

  /** Colours anew, once it is known who takes part. */
  recolor() {
    for (const item of this.#items.values()) {
      item.querySelector('.name').dataset.color = this.#colorOf(item.dataset.speakerId);
    }
  }

  #create(seg) {
    const name = el('span', { className: 'name', data: { color: this.#colorOf(seg.participant.id) } });
    return el(
      'li',
      {
        className: 'caption',
        data: { id: seg.id, speaker: seg.participant.name, speakerId: seg.participant.id, start: seg.start_ms, testid: 'caption' },
      },
      el('div', { className: 'who' }, name, el('time')),
      el('p', { className: 'words' }),
    );
  }

  // An item is moved only when its place changed: moving makes screen readers
  // and selections start again.
  #place(item, seg) {
    item.dataset.start = seg.start_ms;
    const at = this.#captions.indexOf(seg.id);
    const prev = this.#items.get(this.#captions.list[at - 1]?.id);
    const next = this.#items.get(this.#captions.list[at + 1]?.id);
    const sibling = (node, dir) => {
      do node = node[dir];
      while (node?.matches('.divider'));
      return node ?? undefined;
    };
    const inPlace = item.isConnected && sibling(item, 'previousElementSibling') === prev && sibling(item, 'nextElementSibling') === next;
    if (!inPlace) {
      const left = item.nextElementSibling;
      if (next) next.before(item);
      else this.#list.append(item);
      this.#group(left);
    }
    this.#group(item);
    this.#group(item.nextElementSibling);
  }

  #group(item) {
    if (!item?.matches('.caption')) return;
    const prev = item.previousElementSibling;
    const same =
      prev?.matches('.caption') &&
      prev.dataset.speakerId === item.dataset.speakerId &&
      item.dataset.start - prev.dataset.start < sameBreathMs;
    item.classList.toggle('same', Boolean(same));
  }

  #say(seg) {
    this.#announce.push(`${seg.participant.name || 'Someone'}: ${seg.text}`);
    this.#announceTimer ??= setTimeout(() => {
      const lines = this.#announce.splice(0);
      this.#announceTimer = undefined;
      const said = lines.length > announceAtMost ? [`${lines.length} captions that came before`] : lines;
      $('announcer').replaceChildren(...said.map((line) => el('p', {}, line)));
    }, 400);
  }

  #atEnd() {
    const s = this.#scroller;
    return s.scrollHeight - s.scrollTop - s.clientHeight < nearEndPx;
  }

  // Only people scroll up. That the end is further away may also be a notice
  // that took some of the height, or a caption that came before this event.
  #scrolled() {
    const top = this.#scroller.scrollTop;
    if (this.#atEnd()) this.#follow = true;
    else if (top < this.#top - 1) this.#follow = false;
    this.#top = top;
    if (this.#follow) this.#unseen = 0;
    this.#showJump(this.#unseen);
  }

  #toEnd() {
    this.#follow = true;
    this.#unseen = 0;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#top = this.#scroller.scrollTop;
    show(this.#jump, false);
  }

  #showJump(unseen) {
    show(this.#jump, !this.#follow);
    setText(this.#jump, unseen ? `${unseen} new · jump to latest` : 'Jump to latest');
  }
}
