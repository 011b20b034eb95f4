import test from 'node:test';
import assert from 'node:assert/strict';
import { networkChanges } from './network.js';
import { VerbatimError } from './problem.js';
import { lost } from './recovery.js';

/** A connected session whose restarts go as the test says, one after the other. */
function session(t, restarts, within = {}) {
  const pc = Object.assign(new EventTarget(), { connectionState: 'connected' });
  const over = new AbortController();
  const s = {
    pc,
    over,
    wake: new EventTarget(),
    restarts: 0,
    gone: false,
    steady: [],
    become(state) {
      pc.connectionState = state;
      pc.dispatchEvent(new Event('connectionstatechange'));
    },
  };
  const restart = async () => restarts[Math.min(s.restarts++, restarts.length - 1)]?.();
  s.done = lost({
    pc,
    sender: { transport: null },
    restart,
    wake: s.wake,
    over,
    onSteady: (steady) => s.steady.push(steady),
    within: { restartAfterMs: 60_000, checkMs: 60_000, recoverMs: 60_000, ...within },
  }).then(() => (s.gone = true));
  t.after(() => over.abort());
  return s;
}

const refuse = (status, retry = false) => () => Promise.reject(new VerbatimError('refused', { status, retry }));
const ok = () => {};
/** All that can happen without time passing. */
const settle = () => new Promise((resolve) => setImmediate(resolve));
const network = async (s) => {
  s.wake.dispatchEvent(new Event('wake'));
  await settle();
};
/** Timers of 0 ms, too. */
const soon = async (check) => {
  for (let i = 0; i < 1_000 && !check(); i++) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.ok(check());
};

test('another network: ICE is restarted at once, though it seems connected, and at each change', async (t) => {
  const s = session(t, [ok]);
  await network(s);
  await soon(() => s.restarts === 1);
  await network(s);
  await soon(() => s.restarts === 2);
  assert.equal(s.gone, false);
  assert.deepEqual(s.steady, []);
});

test('no network yet: the restart is made up for, though it still seems connected', async (t) => {
  const s = session(t, [refuse(undefined, true), ok], { restartAfterMs: 1 });
  await network(s);
  await soon(() => s.restarts === 2);
});

test('a session that the server does not know is lost, connected or not', async (t) => {
  const s = session(t, [refuse(404)]);
  await network(s);
  await s.done;
  assert.ok(s.over.signal.aborted);
});

test('a restart that is refused leaves a connection that works alone', async (t) => {
  const s = session(t, [refuse(401), ok]);
  await network(s);
  await soon(() => s.restarts === 1);
  await settle();
  assert.equal(s.gone, false);
  await network(s);
  await soon(() => s.restarts === 2);
});

test('ICE that lost touch is restarted until it is back', async (t) => {
  const s = session(t, [refuse(503, true), ok], { restartAfterMs: 1, checkMs: 1 });
  s.become('disconnected');
  await soon(() => s.restarts >= 3);
  s.become('connected');
  await settle();
  const { restarts } = s;
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(s.restarts, restarts);
  assert.deepEqual([s.gone, s.steady], [false, [false, true]]);
});

test('ICE that comes back by itself is not restarted', async (t) => {
  const s = session(t, [ok]);
  s.become('disconnected');
  s.become('connected');
  await settle();
  assert.equal(s.restarts, 0);
  s.become('disconnected'); // it recovers anew
  await network(s);
  await soon(() => s.restarts === 1);
});

test('what does not come back in time is lost, and so is what a restart is refused for', async (t) => {
  const late = session(t, [ok], { restartAfterMs: 1, checkMs: 1, recoverMs: 20 });
  late.become('disconnected');
  await late.done;
  const refused = session(t, [refuse(401)], { restartAfterMs: 1 });
  refused.become('disconnected');
  await refused.done;
});

test('what is closed is over: by the server it is lost, by this side nothing happens any more', async (t) => {
  const server = session(t, [ok]);
  server.become('closed');
  await server.done;
  const here = session(t, [ok]);
  here.over.abort();
  here.become('closed');
  await network(here);
  assert.deepEqual([here.gone, here.restarts, here.steady], [false, 0, []]);
});

test('a network is another one when the kind changes, not the speed, and when it is back', () => {
  const connection = Object.assign(new EventTarget(), { type: 'wifi' });
  const scope = Object.assign(new EventTarget(), { navigator: { connection } });
  const abort = new AbortController();
  let wakes = 0;
  networkChanges(abort.signal, scope).addEventListener('wake', () => wakes++);
  const change = (type) => {
    connection.type = type;
    connection.dispatchEvent(new Event('change'));
    return wakes;
  };
  assert.deepEqual(['wifi', 'cellular', 'none', 'cellular', 'cellular'].map(change), [0, 1, 1, 2, 2]);
  scope.dispatchEvent(new Event('online'));
  assert.equal(wakes, 3);
  abort.abort();
  scope.dispatchEvent(new Event('online'));
  change('wifi');
  assert.equal(wakes, 3);
  networkChanges(new AbortController().signal, {}); // nothing to watch
});
