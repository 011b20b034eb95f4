import test from 'node:test';
import assert from 'node:assert/strict';
import { Captions } from './captions.js';

const seg = (id, text, more = {}) => ({
  id,
  meeting: 'M1',
  track: id.split('.')[0],
  participant: { id: 'ada', name: 'Ada' },
  start_ms: 0,
  end_ms: 0,
  text,
  final: false,
  revision: 0,
  engine: 'test',
  ...more,
});
const shown = (c) => c.list.map((s) => `${s.id} ${s.text}${s.final ? '.' : ''}`);

test('interims replace each other, and the final replaces them', () => {
  const c = new Captions();
  assert.equal(c.apply(seg('A.0', 'he', { revision: 1 })), 'new');
  assert.equal(c.apply(seg('A.0', 'he was', { revision: 2 })), 'changed');
  assert.equal(c.apply(seg('A.0', 'he was not', { revision: 3, final: true })), 'changed');
  assert.deepEqual(shown(c), ['A.0 he was not.']);
});

test('an interim that was overtaken is ignored', () => {
  const c = new Captions();
  c.apply(seg('A.0', 'he was', { revision: 5 }));
  assert.equal(c.apply(seg('A.0', 'he', { revision: 4 })), 'ignored');
  assert.deepEqual(shown(c), ['A.0 he was']);
});

test('what was said in a meeting that was erased is forgotten', () => {
  const c = new Captions();
  c.apply(seg('A.0', 'gone', { final: true }));
  c.apply(seg('A.1', 'going'));
  c.apply(seg('B.0', 'stays', { meeting: 'M2' }));
  assert.deepEqual(c.forget('M1').map((s) => s.id), ['A.0', 'A.1']);
  assert.deepEqual(shown(c), ['B.0 stays']);
  assert.deepEqual([c.get('A.0'), c.forget('M1')], [undefined, []]);
});

test('a final is never replaced by an interim, whatever its revision', () => {
  const c = new Captions();
  c.apply(seg('A.0', 'done', { revision: 3, final: true }));
  assert.equal(c.apply(seg('A.0', 'do', { revision: 9 })), 'ignored');
  assert.deepEqual(shown(c), ['A.0 done.']);
});

test('a final comes through even when its revision is not above the interims’', () => {
  const c = new Captions();
  c.apply(seg('A.0', 'do', { revision: 9 }));
  assert.equal(c.apply(seg('A.0', 'done', { revision: 3, final: true })), 'changed');
  assert.deepEqual(shown(c), ['A.0 done.']);
});

test('replayed finals do not double', () => {
  const c = new Captions();
  c.apply(seg('A.0', 'done', { revision: 3, final: true }));
  assert.equal(c.apply(seg('A.0', 'done', { revision: 3, final: true })), 'ignored');
  assert.equal(c.list.length, 1);
});

test('a corrected final replaces the older one', () => {
  const c = new Captions();
  c.apply(seg('A.0', 'dun', { revision: 3, final: true }));
  assert.equal(c.apply(seg('A.0', 'done', { revision: 4, final: true })), 'changed');
  assert.deepEqual(shown(c), ['A.0 done.']);
});

test('a final without words takes its interim away', () => {
  const c = new Captions();
  c.apply(seg('A.0', 'uh', { revision: 1 }));
  assert.equal(c.apply(seg('A.0', '', { revision: 2, final: true })), 'removed');
  assert.equal(c.apply(seg('A.1', ' ', { revision: 2, final: true })), 'ignored');
  assert.deepEqual(shown(c), []);
});

test('a final is not taken away by what takes back its interim and comes late', () => {
  const c = new Captions();
  c.apply(seg('A.0', 'hello', { revision: 3, final: true }));
  assert.equal(c.apply(seg('A.0', '', { revision: 4, final: true })), 'ignored');
  assert.deepEqual(shown(c), ['A.0 hello.']);
});

test('the order is when it was said, not when it arrived', () => {
  const c = new Captions();
  c.apply(seg('A.1', 'third', { start_ms: 3000, final: true }));
  c.apply(seg('B.0', 'second', { start_ms: 2000, final: true }));
  c.apply(seg('A.0', 'first', { start_ms: 1000, final: true }));
  c.apply(seg('A.2', 'later meeting', { start_ms: 0, meeting: 'M2', final: true }));
  assert.deepEqual(shown(c), ['A.0 first.', 'B.0 second.', 'A.1 third.', 'A.2 later meeting.']);
  assert.equal(c.indexOf('B.0'), 1);
  assert.equal(c.indexOf('nobody'), -1);
});

test('any order of arrival gives the same list', () => {
  const all = [];
  for (let i = 0; i < 12; i++) all.push(seg(`${'AB'[i % 2]}.${i}`, `t${i}`, { start_ms: Math.floor(i / 3) * 500, final: true }));
  const want = new Captions();
  for (const s of all) want.apply(s);
  let seed = 1;
  for (let round = 0; round < 200; round++) {
    const c = new Captions();
    const rest = [...all];
    while (rest.length) {
      seed = (seed * 48271) % 2147483647;
      c.apply(rest.splice(seed % rest.length, 1)[0]);
    }
    assert.deepEqual(shown(c), shown(want));
  }
});

test('a finished track leaves no interims behind', () => {
  const c = new Captions();
  c.apply(seg('A.0', 'said', { final: true }));
  c.apply(seg('A.1', 'half a', { start_ms: 10 }));
  c.apply(seg('B.0', 'still talking', { start_ms: 20 }));
  assert.deepEqual(c.settle(['A']).map((s) => s.id), ['A.1']);
  assert.deepEqual(shown(c), ['A.0 said.', 'B.0 still talking']);
});
