/** The microphone: opening it, and how loud it is. */

import { VerbatimError, microphoneError } from './problem.js';

/**
 * @param {object} o
 * @param {MediaTrackConstraints} [o.audio] added to the constraints
 * @param {string} [o.deviceId] "" for the browser's default
 * @param {(c: MediaStreamConstraints) => Promise<MediaStream>} [o.getUserMedia]
 * @returns {Promise<MediaStreamTrack>}
 */
export async function openMicrophone({ audio, deviceId, getUserMedia }) {
  if (!getUserMedia && !globalThis.navigator?.mediaDevices?.getUserMedia) {
    throw new VerbatimError(globalThis.isSecureContext ? 'no-microphone' : 'insecure-context');
  }
  const constraints = {
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
    channelCount: 1,
    ...audio,
  };
  if (deviceId) constraints.deviceId = { exact: deviceId };
  try {
    const stream = getUserMedia
      ? await getUserMedia({ audio: constraints })
      : await navigator.mediaDevices.getUserMedia({ audio: constraints });
    const [track] = stream.getAudioTracks();
    if (!track) throw new VerbatimError('no-microphone');
    return track;
  } catch (err) {
    throw microphoneError(err);
  }
}

/**
 * The microphones that there are. Before the first permission browsers hide
 * names and ids; the list is then empty.
 * @returns {Promise<import('./shapes.js').Device[]>}
 */
export async function microphones() {
  const all = (await globalThis.navigator?.mediaDevices?.enumerateDevices?.()) ?? [];
  return all
    .filter((d) => d.kind === 'audioinput' && d.deviceId && d.label)
    // Chromium lists the default twice more, under names of their own.
    .filter((d) => d.deviceId !== 'default' && d.deviceId !== 'communications')
    .map((d) => ({ id: d.deviceId, label: d.label }));
}

const tickMs = 80;

/** Tells how loud a track is, 0 to 1, about twelve times a second. */
export class Meter {
  #onLevel;
  #timer;
  #context;
  #source;
  #analyser;
  #samples;

  /** @param {(level: number) => void} onLevel */
  constructor(onLevel) {
    this.#onLevel = onLevel;
  }

  /**
   * @param {MediaStreamTrack} track
   * @param {() => RTCPeerConnection|undefined} connection
   */
  start(track, connection) {
    this.stop();
    if (globalThis.AudioContext) {
      this.#context = new AudioContext();
      this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
      this.#analyser = this.#context.createAnalyser();
      this.#analyser.fftSize = 1024;
      this.#samples = new Float32Array(this.#analyser.fftSize);
      this.#source.connect(this.#analyser);
    }
    this.#timer = setInterval(async () => this.#onLevel(await this.#level(connection)), tickMs);
  }

  stop() {
    clearInterval(this.#timer);
    this.#context?.close();
    this.#context = undefined;
  }

  // An AudioContext sleeps until the user has touched the page (a reload) and
  // where there is no audio device at all; the connection's statistics then
  // know the level in some browsers.
  async #level(connection) {
    if (this.#context?.state === 'running') {
      this.#analyser.getFloatTimeDomainData(this.#samples);
      const sum = this.#samples.reduce((s, x) => s + x * x, 0);
      return loudness(Math.sqrt(sum / this.#samples.length));
    }
    this.#context?.resume().catch(() => {});
    const stats = await connection()?.getStats().catch(() => undefined);
    for (const s of stats?.values() ?? []) {
      if (s.type === 'media-source' && s.kind === 'audio') return loudness(s.audioLevel ?? 0);
    }
    return 0;
  }
}

/**
 * Speech lies between -60 dBFS and 0; hearing is about logarithmic.
 * @param {number} amplitude 0 to 1, linear
 * @returns {number} 0 to 1
 */
export function loudness(amplitude) {
  if (!(amplitude > 0)) return 0;
  return Math.min(1, Math.max(0, 1 + (20 * Math.log10(amplitude)) / 60));
}
