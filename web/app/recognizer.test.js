import test from 'node:test';
import assert from 'node:assert/strict';
import { Recognizer, Steady, condition, sentence, speakerWords } from './recognizer.js';

const track = (id, participant, state, pending = 0, more = {}) => ({
  id,
  participant,
  state: 'live',
  coverage: { pending_ms: pending },
  ...(state ? { transcription: { state, engine: 'vosk', retries: 0, since: '2026-01-05T09:00:00Z', ...more } } : {}),
});

const meeting = (...tracks) => ({
  id: 'M',
  participants: [{ id: 'ada', name: 'Ada' }, { id: 'bob', name: 'Bob' }, { id: 'cy', name: '' }],
  tracks,
});

test('which states are worth a word', () => {
  for (const [state, pending, more, want] of [
    [undefined, 90_000, {}, 'fine'],
    ['live', 90_000, {}, 'fine'],
    ['idle', 0, {}, 'fine'],
    ['opening', 90_000, {}, 'fine'],
    ['opening', 0, { retries: 1 }, 'away'],
    ['retrying', 0, { retries: 1 }, 'away'],
    ['circuit_open', 0, {}, 'away'],
    ['waiting', 2_000, {}, 'fine'],
    ['waiting', 20_000, {}, 'waiting'],
    ['catching_up', 9_000, {}, 'fine'],
    ['catching_up', 80_000, {}, 'behind'],
    ['finishing', 80_000, {}, 'behind'],
    ['fallback', 0, {}, 'fallback'],
    ['something new', 80_000, {}, 'fine'],
  ]) {
    assert.equal(condition(track('T', 'ada', state, pending, more)), want, `${state} ${pending}`);
  }
});

/** What is shown when conditions change at these times, looked at every 100 ms: each change with its time. */
function shown(changes, until) {
  const s = new Steady();
  const out = [];
  let seen = 'fine';
  for (let now = 0; now <= until; now += 100) {
    seen = changes[now] ?? seen;
    const show = s.see(seen, now);
    if (out.at(-1)?.[1] !== show) out.push([now, show]);
  }
  return out;
}

test('a retry of a second is not shown', () => {
  assert.deepEqual(shown({ 1000: 'away', 2000: 'fine', 9000: 'away', 11900: 'fine' }, 20_000), [[0, 'fine']]);
});

test('a recognizer that is away is, and one that dies at once is not back', () => {
  assert.deepEqual(shown({ 1000: 'away', 10_000: 'fine', 10_300: 'away', 20_000: 'behind', 25_000: 'fine' }, 30_000), [
    [0, 'fine'],
    [4000, 'away'],
    [22_000, 'behind'],
    [27_000, 'fine'],
  ]);
});

test('time alone decides, until it has', () => {
  const s = new Steady();
  s.see('away', 0);
  assert.ok(s.undecided);
  s.see('away', 3_000);
  assert.ok(!s.undecided);
});

/** What is said of tracks that have been like this for long. */
function said(...tracks) {
  const r = new Recognizer();
  r.speakers(meeting(...tracks), 0);
  const speakers = r.speakers(meeting(...tracks), 60_000);
  const { text, amount } = sentence(speakers);
  return [text + amount, ...speakers.map(speakerWords)];
}

test('all is well', () => {
  assert.deepEqual(said(), ['']);
  assert.deepEqual(said(track('T', 'ada', 'live', 4_000), track('U', 'bob', 'idle'), track('V', 'cy')), ['', '', '']);
});

test('what is said', () => {
  const kept = 'everything is kept and will be transcribed as soon as it is back.';
  assert.deepEqual(said(track('T', 'ada', 'circuit_open', 80_000), track('U', 'bob', 'retrying', 5_000)), [
    `The recognizer cannot be reached; ${kept}`,
    'recognizer away, 1:20 kept for it',
    'recognizer away, 5.0 s kept for it',
  ]);
  assert.deepEqual(said(track('T', 'ada', 'circuit_open', 80_000), track('U', 'bob', 'catching_up', 99_000)), [
    `The recognizer cannot be reached for Ada; ${kept}`,
    'recognizer away, 1:20 kept for it',
    'catching up, 1:39 behind',
  ]);
  assert.deepEqual(said(track('T', 'ada', 'catching_up', 80_000)), ['Catching up: 1:20 behind', 'catching up, 1:20 behind']);
  assert.deepEqual(said(track('T', 'ada', 'catching_up', 80_000), track('U', 'cy', 'live')), [
    'Catching up with Ada: 1:20 behind',
    'catching up, 1:20 behind',
    '',
  ]);
  assert.equal(
    said(track('T', 'ada', 'waiting', 30_000), track('U', 'cy', 'live'))[0],
    'The recognizer is busy with others; what Ada said is kept and will be transcribed.',
  );
  assert.deepEqual(said(track('T', 'ada', 'fallback', 4_000)), ['Transcribed by the fallback (vosk)', 'by the fallback (vosk)']);
  assert.deepEqual(said(track('T', 'ada', 'fallback', 30_000, { engine: '' })), ['Transcribed by the fallback', 'by the fallback, 30 s behind']);
});

test('a speaker who came back is one, and as badly off as the worse of the two tracks', () => {
  assert.deepEqual(said(track('T', 'ada', 'catching_up', 40_000), track('U', 'ada', 'live', 2_000)), [
    'Catching up: 40 s behind',
    'catching up, 40 s behind',
  ]);
});

test('tracks that are done are forgotten', () => {
  const r = new Recognizer();
  r.speakers(meeting(track('T', 'ada', 'retrying')), 0);
  assert.ok(r.undecided);
  assert.deepEqual(r.speakers(meeting(track('T', 'ada')), 9_000), []);
  assert.ok(!r.undecided);
  r.speakers(meeting(track('T', 'ada', 'retrying')), 10_000);
  assert.equal(sentence(r.speakers(meeting(track('T', 'ada', 'retrying')), 11_000)).text, '', 'its time begins anew');
});
