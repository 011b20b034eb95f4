/** Who spoke when, and where in the meeting the audio is. */

import { $, el, setText, show } from './dom.js';
import { clock } from './words.js';

// What is narrower than this part of the whole could not be seen.
const visible = 1 / 600;
const svg = 'http://www.w3.org/2000/svg';

/**
 * When somebody talks, as spans of the whole (0 to 1): what cannot be told apart
 * is one.
 * @param {{start_ms: number, end_ms: number}[]} segments in order of their start
 * @param {number} durationMs
 * @returns {[from: number, to: number][]}
 */
export function spans(segments, durationMs) {
  const all = [];
  for (const s of segments) {
    const from = s.start_ms / durationMs;
    const to = Math.max(s.end_ms / durationMs, from + visible);
    const last = all.at(-1);
    if (last && from - last[1] < visible) last[1] = Math.max(last[1], to);
    else all.push([from, to]);
  }
  return all;
}

export class Timeline {
  #duration = 0;
  #ms = 0;
  #seek;
  #node = $('seek');

  /** @param {(ms: number) => void} seek */
  constructor(seek) {
    this.#seek = seek;
    const to = (e) => {
      const box = this.#node.getBoundingClientRect();
      seek(Math.max(0, Math.min(1, (e.clientX - box.left) / box.width)) * this.#duration);
    };
    this.#node.addEventListener('pointerdown', (e) => {
      if (e.button !== 0) return;
      this.#node.setPointerCapture(e.pointerId);
      to(e);
    });
    this.#node.addEventListener('pointermove', (e) => this.#node.hasPointerCapture(e.pointerId) && to(e));
    this.#node.addEventListener('keydown', (e) => this.#key(e));
  }

  get duration() {
    return this.#duration;
  }

  #key(e) {
    const steps = { ArrowLeft: -5_000, ArrowDown: -5_000, ArrowRight: 5_000, ArrowUp: 5_000, PageDown: -60_000, PageUp: 60_000, Home: -Infinity, End: Infinity };
    const step = steps[e.key];
    if (step === undefined || e.ctrlKey || e.altKey || e.metaKey) return;
    e.preventDefault();
    this.#seek(Math.max(0, Math.min(this.#duration, this.#ms + step)));
  }

  /**
   * @param {any} meeting
   * @param {any[]} segments
   * @param {number} durationMs
   * @param {(participant: string) => number} colorOf
   */
  render(meeting, segments, durationMs, colorOf) {
    this.#duration = durationMs;
    show($('timeline'), segments.length > 0 && durationMs > 0);
    if (segments.length === 0) return;
    const by = Map.groupBy(segments, (s) => s.participant.id);
    $('lanes').replaceChildren(
      ...meeting.participants.map((p) => lane(p, spans(by.get(p.id) ?? [], durationMs), colorOf(p.id))),
    );
    this.#node.setAttribute('aria-valuemax', String(Math.round(durationMs / 1000)));
    setText($('end'), clock(durationMs));
    this.at(this.#ms);
  }

  /** @param {number} ms where the audio is */
  at(ms) {
    this.#ms = ms;
    $('playhead').style.left = `${this.#duration ? (100 * Math.min(ms, this.#duration)) / this.#duration : 0}%`;
    const s = String(Math.round(ms / 1000));
    if (this.#node.getAttribute('aria-valuenow') === s) return;
    this.#node.setAttribute('aria-valuenow', s);
    this.#node.setAttribute('aria-valuetext', clock(ms));
  }
}

function lane(p, all, color) {
  const talk = document.createElementNS(svg, 'svg');
  talk.setAttribute('viewBox', '0 0 10000 10');
  talk.setAttribute('preserveAspectRatio', 'none');
  talk.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(svg, 'path');
  const x = (v) => Math.round(10_000 * v);
  path.setAttribute('d', all.map(([from, to]) => `M${x(from)} 0H${x(to)}V10H${x(from)}Z`).join(''));
  talk.append(path);
  talk.dataset.color = String(color);
  return el('li', { data: { participant: p.id, spans: all.length, testid: 'lane' } }, el('span', { className: 'name' }, p.name || 'Someone'), talk);
}
