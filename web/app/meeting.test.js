import test from 'node:test';
import assert from 'node:assert/strict';
import { length, marks, pieces, searchMarks } from './words.js';
import { spans } from './timeline.js';
import { tiles } from './insight.js';

test('a text in pieces: all of it, with the times of the words that are found', () => {
  const words = [
    { text: 'Well', start_ms: 10 },
    { text: 'gone', start_ms: 20 }, // not in the text
    { text: 'WELL', start_ms: 30 },
    { text: 'done', start_ms: 40 },
    { text: '', start_ms: 50 },
  ];
  const text = '“Well, well” done.';
  const got = pieces(text, words);
  assert.equal(got.map((p) => p.text).join(''), text);
  assert.deepEqual(
    got.filter((p) => p.start_ms !== undefined).map((p) => [p.text, p.start_ms]),
    [['Well', 10], ['well', 30], ['done', 40]],
  );
  // "İ" is two letters in lower case: positions would not be those of the text.
  assert.deepEqual(pieces('İyi', [{ text: 'iyi', start_ms: 1 }]), [{ text: 'İyi' }]);
});

test('marks: each second part is what is looked for', () => {
  assert.deepEqual(marks('Ada and ADA.', 'ada'), ['', 'Ada', ' and ', 'ADA', '.']);
  assert.deepEqual(marks('Ada', 'b'), ['Ada']);
  assert.deepEqual(marks('Ada', ''), ['Ada']);
});

test('marks of a search: whole words, and the beginning of one for the last', () => {
  assert.deepEqual(searchMarks('The other then the', 'the'), ['', 'The', ' other ', 'the', 'n ', 'the', '']);
  assert.deepEqual(searchMarks('fridays on friday, released', 'friday rel'), ['fridays on ', 'friday', ', ', 'rel', 'eased']);
  assert.deepEqual(searchMarks('a.b (c', '.('), ['a.b (c']);
});

test('a meeting is as long as somebody was there', () => {
  const at = (s) => `2026-03-04T09:00:${s}Z`;
  const m = { state: 'complete', started_at: at('00'), ended_at: at('50'), participants: [{ left_at: at('10') }, { left_at: at('30') }] };
  assert.equal(length(m, 0), '0:30');
  assert.equal(length({ ...m, participants: [] }, 0), '0:50');
  assert.equal(length({ ...m, state: 'live', ended_at: null, participants: [{ left_at: null }] }, Date.parse(at('20'))), '0:20');
});

test('spans of talk: what cannot be told apart is one, and what is short can be seen', () => {
  const all = spans([{ start_ms: 0, end_ms: 100 }, { start_ms: 101, end_ms: 300 }, { start_ms: 500_000, end_ms: 500_001 }], 1_000_000);
  assert.equal(all.length, 2);
  assert.deepEqual(all[0][0], 0);
  assert.ok(all[1][1] - all[1][0] >= 1 / 600);
  assert.deepEqual(spans([], 1000), []);
});

const stats = {
  duration_ms: 1_800_000, talk_ms: 1_000_000, silence_ms: 900_000, double_talk_ms: 90_000, turns: 20, interruptions: 0,
  words_per_minute: null, balance: 0.934,
  trend: { metrics: [{ metric: 'balance', usual: 0.8, meetings: 3 }, { metric: 'duration_ms', usual: 60_000, meetings: 2 }] },
};

test('tiles: what there is, beside what is usual if there were enough meetings', () => {
  const got = Object.fromEntries(tiles(stats).map((t) => [t.metric, `${t.value} ${t.usual}`.trim()]));
  assert.deepEqual(got, {
    duration_ms: '30:00',
    balance: '93 % usually 80 %',
    silence_share: '50 %',
    double_talk_share: '5 %',
    turns_per_hour: '20',
    interruptions_per_hour: '0',
  });
});
