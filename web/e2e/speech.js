/** Recorded speech: WAV files for the browsers, and how alike two texts are. */

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { artifacts, binary } from './server.js';

const rate = 16_000;
const folder = join(import.meta.dirname, '../../internal/speech');

/** The words that are spoken in a sentence. */
export function wordsOf(name) {
  return readFileSync(join(folder, `${name}.txt`), 'utf8').trim().split(/\s+/);
}

function samples(name) {
  return wavSamples(readFileSync(join(folder, `${name}.wav`)));
}

/** The samples of a WAV file with the canonical header, 16 kHz mono s16. @param {Buffer} file */
export function wavSamples(file) {
  const b = file.subarray(44);
  return new Int16Array(b.buffer.slice(b.byteOffset, b.byteOffset + b.length));
}

// Where the voice itself begins and ends: the files have some room around it.
const loud = (x) => Math.abs(x) > 700;

/** The samples of a sentence from where the voice begins to where it ends. */
export function voice(name) {
  const pcm = samples(name);
  return pcm.subarray(pcm.findIndex(loud), pcm.findLastIndex(loud) + 1);
}

/**
 * Sentences with silence before the first and after each.
 * @param {string[]} names
 * @returns {{path: string, base64: string, seconds: number, spans: {name: string, from: number, to: number}[]}}
 *   spans say when each is spoken, in ms from the beginning
 */
export function recording(names, { lead = 1_500, pause = 3_000 } = {}) {
  const spans = [];
  const parts = [new Int16Array((lead * rate) / 1000)];
  let at = lead;
  for (const name of names) {
    const pcm = samples(name);
    const from = at + (pcm.findIndex(loud) / rate) * 1000;
    const to = at + (pcm.findLastIndex(loud) / rate) * 1000;
    spans.push({ name, from, to });
    parts.push(pcm, new Int16Array((pause * rate) / 1000));
    at += (pcm.length / rate) * 1000 + pause;
  }
  const wav = encode(parts);
  const path = join(artifacts, `${names.join('+')}.wav`);
  writeFileSync(path, wav);
  return { path, base64: wav.toString('base64'), seconds: at / 1000, spans };
}

function encode(parts) {
  const size = 2 * parts.reduce((n, p) => n + p.length, 0);
  const h = Buffer.alloc(44);
  h.write('RIFF', 0);
  h.writeUInt32LE(36 + size, 4);
  h.write('WAVEfmt ', 8);
  h.writeUInt32LE(16, 16);
  h.writeUInt16LE(1, 20); // PCM
  h.writeUInt16LE(1, 22); // mono
  h.writeUInt32LE(rate, 24);
  h.writeUInt32LE(2 * rate, 28);
  h.writeUInt16LE(2, 32);
  h.writeUInt16LE(16, 34);
  h.write('data', 36);
  h.writeUInt32LE(size, 40);
  return Buffer.concat([h, ...parts.map((p) => Buffer.from(p.buffer, p.byteOffset, p.byteLength))]);
}

/** @param {string} text */
export function wordsIn(text) {
  return text.toLowerCase().split(/[^a-z']+/).filter(Boolean);
}

/**
 * How much of what was spoken is in the text, in order: the longest common
 * subsequence of words, as a part of the spoken ones.
 * @param {string[]} spoken
 * @param {string} text
 */
export function recall(spoken, text) {
  return common(spoken, wordsIn(text)).length / spoken.length;
}

/**
 * The longest common subsequence of two lists, as pairs of indices.
 * @param {string[]} a
 * @param {string[]} b
 * @returns {[number, number][]}
 */
export function common(a, b) {
  const length = Array.from({ length: a.length + 1 }, () => new Array(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      length[i][j] = a[i] === b[j] ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
    }
  }
  const pairs = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) pairs.push([i++, j++]);
    else if (length[i + 1][j] >= length[i][j + 1]) i++;
    else j++;
  }
  return pairs;
}

/**
 * The words of a sentence with their times in ms after the beginning of its
 * voice, as PocketSphinx hears them in the recording itself: as far as they are
 * those that are spoken.
 * @param {string} name
 * @returns {{text: string, start_ms: number, end_ms: number}[]}
 */
export function timedWords(name) {
  const pcm = samples(name);
  const onset = pcm.findIndex(loud) / 16;
  const out = execFileSync(join(dirname(binary), 'verbatim-pocketsphinx'), { input: Buffer.from(pcm.buffer), encoding: 'utf8' });
  const heard = out.split('\n').filter(Boolean).map((l) => JSON.parse(l)).filter((r) => r.type === 'final').flatMap((r) => r.words ?? []);
  return common(wordsOf(name), heard.map((w) => w.text)).map(([, j]) => {
    const { text, start, end } = heard[j];
    return { text, start_ms: 1000 * start - onset, end_ms: 1000 * end - onset };
  });
}
