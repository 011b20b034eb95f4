// The comparison sees what a receiver can do wrong.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { compare } from './compare.js';
import { voice } from './speech.js';

const ms = 16;
const sent = voice('sas-0880');
const middle = 1_000 * ms;
const room = new Int16Array(500 * ms);

/** Joins pieces to what arrived. */
const arrived = (...parts) => Int16Array.from([room, ...parts, room].flatMap((p) => [...p]));
const cut = (from, to) => sent.subarray(from, to);

test('the same waveform, quieter', () => {
  const r = compare(sent, arrived(sent.map((v) => v / 2)));
  assert.equal(r.at, 500);
  assert.equal(r.shift, 0);
  assert.ok(Math.abs(r.gain - 0.5) < 0.001, `gain ${r.gain}`);
  for (const key of ['alike', 'piece', 'packet']) assert.ok(r[key] > 0.999, `${key} ${r[key]}`);
});

for (const [name, got, shift] of [
  ['21 ms are missing', arrived(cut(0, middle), cut(middle + 21 * ms)), 21],
  ['21 ms came twice', arrived(cut(0, middle), cut(middle - 21 * ms)), 21],
]) {
  test(name, () => assert.equal(compare(sent, got).shift, shift));
}

for (const [name, got] of [
  ['60 ms are silence', arrived(cut(0, middle), new Int16Array(60 * ms), cut(middle + 60 * ms))],
  ['two packets came in the wrong order', arrived(cut(0, middle), cut(middle + 60 * ms, middle + 120 * ms), cut(middle, middle + 60 * ms), cut(middle + 120 * ms))],
]) {
  test(name, () => {
    const { packet } = compare(sent, got);
    assert.ok(packet < 0.3, `packet ${packet}`);
  });
}

test('the last 300 ms are missing', () => {
  const { piece } = compare(sent, arrived(cut(0, -300 * ms)));
  assert.ok(piece < 0.9, `piece ${piece}`);
});

test('somebody else’s words', () => {
  const { alike } = compare(sent, arrived(voice('sas-0890')));
  assert.ok(alike < 0.3, `alike ${alike}`);
});
