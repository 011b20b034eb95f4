// A publisher that is asked to move: what it opens, ends and tells, with the
// sessions themselves made up.
import test from 'node:test';
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { VerbatimError } from './problem.js';
import { Publisher } from './publisher.js';

const moving = { spreadMs: 0, againMs: 10, overlapMs: 20 };
const busy = () => new VerbatimError('unavailable', { retry: true });
const settled = () => new Promise((resolve) => setTimeout(resolve, 50));

// A publisher whose attempts end as the script says, one function for each; the
// last one goes on. What happens is written down.
async function publisher(t, ...script) {
  const log = [];
  const server = createServer((req, res) => {
    log.push(`${req.method} ${req.url}`);
    res.end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const sessions = [];
  const abort = new AbortController();
  const p = new Publisher({
    endpoint: '',
    headers: async () => ({}),
    iceServers: [],
    wake: new EventTarget(),
    onJoined: () => {},
    onUp: () => log.push('up'),
    onDown: () => log.push('down'),
    moving,
    publish: async (o) => {
      script[Math.min(sessions.length, script.length - 1)]?.();
      const n = sessions.length + 1;
      const session = { n, track: o.track, url: `http://127.0.0.1:${server.address().port}/${n}`, close: () => log.push(`close ${n}`) };
      session.sender = { track: o.track, replaceTrack: async (track) => log.push(`${n} sends ${track}`) };
      session.pc = n;
      session.meeting = '';
      session.lost = new Promise((resolve) => (session.lose = resolve));
      sessions.push(session);
      log.push(`open ${n}`);
      return session;
    },
  });
  p.use('microphone');
  const running = p.run(abort.signal);
  await settled();
  return { p, log, sessions, stop: () => (abort.abort(), running) };
}

test('the new session is there before the old one ends, and takes its place', async (t) => {
  const { p, log, sessions, stop } = await publisher(t);
  await p.move(5_000);
  await settled();
  assert.deepEqual(log.toSorted(), ['DELETE /1', 'close 1', 'open 1', 'open 2', 'up']);
  assert.ok(log.indexOf('open 2') < log.indexOf('close 1'));
  assert.equal(p.connection, 2);
  // From now on it is the second that counts.
  sessions[0].lose();
  p.use('another microphone');
  await settled();
  assert.deepEqual(log.slice(5), ['2 sends another microphone']);
  sessions[1].lose();
  await settled();
  assert.ok(log.includes('down') && log.includes('close 2'));
  await stop();
});

test('a server that refuses is tried again, and the old session goes on', async (t) => {
  let refusals = 0;
  const refuse = () => {
    if (++refusals < 3) throw busy();
  };
  const { p, log, stop } = await publisher(t, undefined, refuse);
  await p.move(5_000);
  assert.equal(refusals, 3);
  assert.deepEqual(log.filter((l) => /open|down|close/.test(l)), ['open 1', 'open 2', 'close 1']);
  await stop();
});

test('where there is no other server, nothing changes until the session ends', async (t) => {
  let alone = true;
  const { p, log, sessions, stop } = await publisher(t, undefined, () => {
    if (alone) throw busy();
  });
  const before = [...log];
  await p.move(100);
  assert.deepEqual(log, before);
  assert.equal(p.connection, 1);
  alone = false;
  sessions[0].lose();
  await new Promise((resolve) => setTimeout(resolve, 700)); // the backoff's first wait
  assert.deepEqual(log.filter((l) => l !== 'up'), ['open 1', 'close 1', 'down', 'open 2']);
  await stop();
});

test('being asked twice, or without a session, moves nothing twice', async (t) => {
  const { p, log, stop } = await publisher(t);
  await Promise.all([p.move(5_000), p.move(5_000)]);
  assert.equal(log.filter((l) => l.startsWith('open')).length, 2);
  await stop();
  await p.move(5_000);
  assert.equal(log.filter((l) => l.startsWith('open')).length, 2);
});
