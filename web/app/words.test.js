import test from 'node:test';
import assert from 'node:assert/strict';
import { account, afterWords, clock, coverageSentence, missingPlaces, missingSentence, names, span, stateWords } from './words.js';

const coverage = (more) => ({
  duration_ms: 0,
  received_ms: 0,
  recovered_ms: 0,
  concealed_ms: 0,
  silence_ms: 0,
  discontinuity_ms: 0,
  shed_ms: 0,
  transcribed_ms: 0,
  pending_ms: 0,
  skipped_ms: 0,
  ...more,
});

test('times', () => {
  assert.deepEqual([0, 999, 12_000, 192_000, 3_723_000].map(clock), ['0:00', '0:00', '0:12', '3:12', '1:02:03']);
  assert.deepEqual([400, 9_949, 12_000, 65_000].map(span), ['0.4 s', '9.9 s', '12 s', '1:05']);
});

test('what was heard', () => {
  for (const [c, live, want] of [
    [undefined, true, 'Nothing heard yet.'],
    [coverage({}), true, 'Nothing heard yet.'],
    [coverage({ duration_ms: 192_000, received_ms: 192_000, transcribed_ms: 192_000 }), false, '3:12 heard, all of it transcribed.'],
    [coverage({ duration_ms: 192_000, transcribed_ms: 188_000, pending_ms: 4_000 }), true, '3:12 heard, the transcript keeps up.'],
    [coverage({ duration_ms: 192_000, transcribed_ms: 192_000 }), true, '3:12 heard, all of it transcribed so far.'],
    [coverage({ duration_ms: 192_000, transcribed_ms: 188_000, pending_ms: 4_000 }), false, '3:12 heard, 4.0 s of it still to be transcribed.'],
    [coverage({ duration_ms: 192_000, transcribed_ms: 92_000, pending_ms: 100_000 }), true, '3:12 heard, 1:40 of it still to be transcribed.'],
    [coverage({ duration_ms: 194_000, concealed_ms: 2_000, transcribed_ms: 194_000 }), false, '3:12 heard, all of it transcribed.'],
    [coverage({ duration_ms: 192_000, transcribed_ms: 190_000, skipped_ms: 2_000 }), false, '3:12 heard, all but 2.0 s of it transcribed.'],
  ]) {
    assert.equal(coverageSentence(c, live), want);
  }
});

test('several who speak at once do not look like one who is far behind', () => {
  const c = coverage({ duration_ms: 60_000, transcribed_ms: 40_000, pending_ms: 20_000 });
  assert.equal(coverageSentence(c, true, 10_000), '1:00 heard, the transcript keeps up.');
  assert.equal(coverageSentence(c, true, 16_000), '1:00 heard, 20 s of it still to be transcribed.');
});

test('a transcript does not keep up while the recognizer is away', () => {
  const c = (more) => coverage({ duration_ms: 4_000, ...more });
  assert.equal(coverageSentence(c({ pending_ms: 4_000 }), true, Infinity), '0:04 heard, 4.0 s of it still to be transcribed.');
  assert.equal(coverageSentence(c({ transcribed_ms: 4_000 }), true, Infinity), '0:04 heard, all of it transcribed so far.');
});

test('whatever is missing is said', () => {
  assert.equal(missingSentence(undefined), '');
  assert.equal(missingSentence(coverage({ duration_ms: 9, received_ms: 9 })), '');
  assert.equal(
    missingSentence(coverage({ concealed_ms: 60, discontinuity_ms: 40, shed_ms: 2_000, skipped_ms: 12_000 })),
    'Missing: 0.1 s lost on the way to the server, 2.0 s given up by the server, 12 s not transcribed.',
  );
  for (const [key, , , loss] of [...account.arrived, ...account.transcribed]) {
    assert.equal(missingSentence(coverage({ [key]: 1_000 })) !== '', loss, key);
  }
});

test('names', () => {
  assert.deepEqual([[], ['Ada'], ['Ada', 'Bob'], ['A', 'B', 'C'], ['A', 'B', 'C', 'D']].map(names), ['', 'Ada', 'Ada and Bob', 'A, B and C', 'A, B and 2 others']);
});

test('where something is missing', () => {
  const meeting = { participants: [{ id: 'ada', name: 'Ada' }, { id: 'x', name: '' }], tracks: [{ id: 'T', participant: 'ada' }, { id: 'U', participant: 'x' }] };
  const missing = [
    { track: 'T', start_ms: 12_000, end_ms: 15_000, missing_ms: 800, kind: 'concealed', reason: 'lost on the way' },
    { track: 'U', start_ms: 65_100, end_ms: 65_300, missing_ms: 200, kind: 'shed', reason: 'given up by the server' },
    { track: 'T', start_ms: 70_000, end_ms: 79_000, missing_ms: 9_000, kind: 'pending', reason: 'not transcribed yet' },
  ];
  const first = { who: 'Ada', at: '0:12–0:15', much: '0.8 s', why: 'lost on the way' };
  const second = { who: 'Someone', at: '1:05', much: '0.2 s', why: 'given up by the server' };
  assert.deepEqual(missingPlaces({ meeting, missing }, true), { places: [first, second], more: '', sum: '1.0 s in 2 places' });
  assert.equal(missingPlaces({ meeting, missing }, false).sum, '10 s in 3 places');
  assert.deepEqual(missingPlaces({ meeting, missing: [missing[0]] }, false), { places: [first], more: '', sum: '0.8 s in one place' });
  assert.deepEqual(missingPlaces({ meeting, missing: [] }, false), { places: [], more: '', sum: 'Nothing is missing.' });
  const many = missingPlaces({ meeting, missing: new Array(25).fill(missing[0]) }, true);
  assert.deepEqual([many.places.length, many.more, many.sum], [20, 'and 5 more', '20 s in 25 places']);
});

test('states in words', () => {
  const words = (state, more, speaking = true) => stateWords({ state, captions: 'on', muted: false, ...more }, speaking);
  assert.equal(words('connected'), 'Live');
  assert.equal(words('connected', { muted: true }), 'Muted');
  assert.equal(words('connected', {}, false), 'Reading along');
  assert.equal(words('connected', { captions: 'failed' }), 'Live, without captions');
  assert.equal(words('reconnecting'), 'Reconnecting…');
  assert.deepEqual([words('left'), words('left', { code: 'ended' })], ['Left', 'Ended']);
  assert.match(afterWords('complete'), /complete/);
  assert.match(afterWords('live'), /go on/);
});
