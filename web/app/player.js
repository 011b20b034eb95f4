/** The recording: where it is, and where it should be. */

import { $, setText, show } from './dom.js';
import { json } from './api.js';

export class Player {
  #audio = $('audio');
  #onTime;
  #onTrouble;

  /**
   * @param {object} o
   * @param {(ms: number) => void} o.onTime at each frame while it plays
   * @param {(err: Error) => void} o.onTrouble
   */
  constructor({ onTime, onTrouble }) {
    this.#onTime = onTime;
    this.#onTrouble = onTrouble;
    const a = this.#audio;
    a.addEventListener('play', () => this.#run());
    a.addEventListener('seeking', () => this.#tell());
    a.addEventListener('timeupdate', () => this.#tell());
    a.addEventListener('error', () => this.#failed());
    a.addEventListener('loadedmetadata', () => this.#seekable());
    $('rate').addEventListener('change', () => {
      a.defaultPlaybackRate = a.playbackRate = Number($('rate').value);
    });
    document.addEventListener('keydown', (e) => this.#key(e));
  }

  /** @param {string} src @param {string} [words] said beside it */
  load(src, words = '') {
    setText($('audio-words'), words);
    if (this.#audio.getAttribute('src') === src) return;
    const at = this.#audio.currentTime;
    this.#audio.src = src;
    if (at > 0) this.#audio.currentTime = at;
    show(this.#audio, true);
    show($('rate-label'), true);
  }

  /** Why there is nothing to play. @param {string} words */
  none(words) {
    show(this.#audio, false);
    show($('rate-label'), false);
    setText($('audio-words'), words);
  }

  get loaded() {
    return !this.#audio.hidden;
  }

  /** @param {number} ms */
  seek(ms) {
    if (this.loaded) this.#audio.currentTime = ms / 1000;
    else this.#onTime(ms);
  }

  play() {
    if (this.loaded) this.#audio.play().catch(() => {}); // the browser wants a click first, and gets it
  }

  #tell() {
    this.#onTime(1000 * this.#audio.currentTime);
  }

  #run() {
    this.#tell();
    if (!this.#audio.paused) requestAnimationFrame(() => this.#run());
  }

  #seekable() {
    const { seekable, duration } = this.#audio;
    if (seekable.length > 0 && Number.isFinite(duration) && seekable.end(seekable.length - 1) >= 0.9 * duration) return;
    setText($('audio-words'), 'This server keeps no recording, so the audio plays from its beginning: jumping may not work.');
  }

  // The element says only that it failed; the server knows why.
  async #failed() {
    const src = this.#audio.getAttribute('src');
    const err = await json(src, { headers: { Range: 'bytes=0-0' }, signal: AbortSignal.timeout(10_000) }).catch((e) => e);
    const why = err?.name === 'VerbatimError' ? err.message : 'This browser could not play the recording; it can be downloaded.';
    this.none(why);
    this.#onTrouble(err);
  }

  #key(e) {
    if (!this.loaded || e.defaultPrevented || e.ctrlKey || e.altKey || e.metaKey) return;
    if (e.target.closest('input, select, textarea, button, a, audio, summary, dialog')) return;
    if (e.key === ' ' || e.key === 'k') {
      if (this.#audio.paused) this.play();
      else this.#audio.pause();
    } else if (e.key === 'j' || e.key === 'l') {
      this.seek(Math.max(0, 1000 * this.#audio.currentTime + (e.key === 'j' ? -5_000 : 5_000)));
    } else return;
    e.preventDefault();
  }
}
