/** The recording: where it is, and where it should be. */

import { $, setText, show } from './dom.js';
import { api } from './api.js';
import { address } from './links.js';
import { askForToken, token } from './token.js';

// An address is good for an hour; one that is older than this may be over.
const renewMs = 50 * 60_000;

export class Player {
  #audio = $('audio');
  #onTime;
  #path = '';
  #since = 0; // when its address was made
  #asked = 0; // where it was to go, in s: there may be nothing to play yet

  /** @param {(ms: number) => void} onTime called at each frame while it plays */
  constructor(onTime) {
    this.#onTime = onTime;
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

  /** @param {string} path of the file */
  async load(path) {
    if (this.#path === path) return;
    this.#path = path;
    setText($('audio-words'), '');
    await this.#open();
  }

  async #open() {
    try {
      this.#audio.src = await address(this.#path);
      this.#since = Date.now();
      if (this.#asked > 0) this.#audio.currentTime = this.#asked;
      show(this.#audio, true);
      show($('rate-label'), true);
    } catch (err) {
      this.#path = ''; // the next load tries again
      if (!askForToken(err)) this.none(err.message);
    }
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
    this.#asked = ms / 1000;
    if (this.loaded) this.#audio.currentTime = this.#asked;
    this.#onTime(ms);
  }

  play() {
    if (this.loaded) this.#audio.play().catch(() => {}); // the browser wants a click first, and gets it
  }

  #tell() {
    this.#onTime(Math.round(1000 * this.#audio.currentTime));
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

  // The element says only that it failed; the server knows why. A browser that
  // finds no loudspeaker says so, too, and goes on: it is no reason to take the
  // player away.
  async #failed() {
    const { code } = this.#audio.error ?? {};
    if (token && Date.now() - this.#since > renewMs) {
      this.#asked = this.#audio.currentTime;
      const playing = !this.#audio.paused;
      await this.#open();
      if (playing) this.play();
      return;
    }
    const range = { headers: { Range: 'bytes=0-0' }, signal: AbortSignal.timeout(10_000) };
    const err = await api.call(this.#path.slice(1), {}, range).then((res) => res.body?.cancel(), (e) => e);
    if (err) this.none(err.message);
    else if (code === MediaError.MEDIA_ERR_SRC_NOT_SUPPORTED) this.none('This browser does not play FLAC; the recording can be downloaded.');
    else setText($('audio-words'), 'This browser has trouble with playing the recording. Is there a loudspeaker?');
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
