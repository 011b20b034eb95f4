/** The microphone in use, through choices, unplugging and muting. */

import { Meter, microphones, openMicrophone } from './microphone.js';
import { VerbatimError } from './problem.js';

/** @import { Device } from './shapes.js' */

export class Input {
  #o;
  #deviceId;
  #away = ''; // the one that was chosen, while the default is in its place
  /** @type {boolean} */
  #muted;
  #meter;
  #choices = 0; // the last one made wins
  #told = new Set(); // what went wrong with the track
  /** @type {MediaStreamTrack|undefined} */
  #track;
  /** @type {Promise<void>|undefined} */
  #reopening;
  /** @type {AbortController|undefined} */
  #watching; // the devices

  /**
   * @param {object} o
   * @param {MediaTrackConstraints} [o.audio] added to the constraints
   * @param {string} [o.deviceId]
   * @param {boolean} [o.muted]
   * @param {(c: MediaStreamConstraints) => Promise<MediaStream>} [o.getUserMedia]
   * @param {() => RTCPeerConnection|undefined} o.connection knows the level in some browsers
   * @param {(track: MediaStreamTrack) => void} o.onTrack this one is to be sent from now on
   * @param {(devices: Device[]) => void} o.onDevices one came or went, or another is in use
   * @param {(level: number) => void} o.onLevel
   * @param {(err: VerbatimError) => void} o.onError what happened to the microphone in use
   */
  constructor(o) {
    this.#o = o;
    this.#deviceId = o.deviceId ?? '';
    this.#muted = o.muted ?? false;
    this.#meter = new Meter((level) => o.onLevel(this.#muted ? 0 : level));
  }

  get muted() {
    return this.#muted;
  }

  /** The id of the device in use, "" when none is open. */
  get deviceId() {
    return this.#track?.getSettings().deviceId ?? '';
  }

  /** @param {boolean} on */
  mute(on) {
    this.#muted = on;
    if (this.#track) this.#track.enabled = !on;
  }

  /**
   * Opens the microphone, unless stop() comes first; throws a VerbatimError. One
   * that was chosen another day and is not there today is replaced by the default.
   */
  async open() {
    const choice = ++this.#choices;
    const wanted = (this.#deviceId = this.#away || this.#deviceId);
    let away = (this.#away = '');
    const track = await this.#get(wanted).catch((err) => {
      if (!wanted || err.code !== 'no-microphone') throw err;
      away = wanted;
      return this.#get('');
    });
    if (choice !== this.#choices) return track.stop();
    this.#use(track);
    this.#watch();
    if (wanted !== this.#deviceId) await this.choose(this.#deviceId).catch(() => {}); // chosen meanwhile
    else if (away) [this.#away, this.#deviceId] = [away, ''];
  }

  /**
   * Takes another microphone, now or when one is opened. One that does not open
   * leaves the present one in use, is told by onError and thrown.
   * @param {string} deviceId "" for the browser's default
   */
  async choose(deviceId) {
    try {
      await this.#take(deviceId);
      this.#away = '';
    } catch (err) {
      this.#o.onError(/** @type {VerbatimError} */ (err));
      throw err;
    }
  }

  stop() {
    this.#choices++;
    this.#watching?.abort();
    this.#meter.stop();
    this.#track?.stop();
    this.#track = undefined;
  }

  /** @param {string} deviceId */
  async #take(deviceId) {
    if (this.#track) {
      const choice = ++this.#choices;
      const old = () => choice !== this.#choices; // stopped, or another one was chosen
      const track = await this.#get(deviceId).catch((err) => {
        if (!old()) throw err;
      });
      if (old()) return track?.stop();
      if (track) this.#use(track);
    }
    this.#deviceId = deviceId;
  }

  /** @param {string} deviceId */
  #get(deviceId) {
    return openMicrophone({ audio: this.#o.audio, deviceId, getUserMedia: this.#o.getUserMedia });
  }

  /** @param {MediaStreamTrack} track */
  #use(track) {
    const old = this.#track;
    this.#track = track;
    this.#told.clear();
    track.enabled = !this.#muted;
    track.addEventListener('ended', () => this.#unplugged(track));
    this.#meter.start(track, this.#o.connection);
    this.#o.onTrack(track);
    old?.stop();
    if (old) this.#tellDevices();
  }

  #watch() {
    this.#watching?.abort();
    const { signal } = (this.#watching = new AbortController());
    const look = async () => {
      const devices = await this.#tellDevices();
      const back = this.#away;
      if (back && devices.some((d) => d.id === back)) {
        await this.#take(back).catch(() => {});
        if (this.#deviceId === back) this.#away = '';
      }
      // There was none when the last one went away, or only this tells of it.
      if (this.#track?.readyState === 'ended') this.#unplugged(this.#track);
    };
    globalThis.navigator?.mediaDevices?.addEventListener?.('devicechange', look, { signal });
  }

  async #tellDevices() {
    const signal = this.#watching?.signal;
    const devices = await microphones().catch(() => []);
    if (!signal || signal.aborted) return [];
    this.#o.onDevices(devices);
    return devices;
  }

  // Any other microphone is better than silence. Browsers tell of one that is
  // unplugged twice: the track has ended, the devices have changed.
  /** @param {MediaStreamTrack} track */
  #unplugged(track) {
    if (track !== this.#track) return;
    this.#tell(new VerbatimError('microphone-lost'));
    this.#away ||= this.#deviceId;
    this.#reopening ??= this.#take('')
      .catch((err) => this.#tell(err))
      .finally(() => (this.#reopening = undefined));
  }

  // Once for each microphone that is lost, however often another one is tried.
  /** @param {VerbatimError} err */
  #tell(err) {
    if (this.#told.has(err.code)) return;
    this.#told.add(err.code);
    this.#o.onError(err);
  }
}
