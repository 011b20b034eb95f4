// Every tenth of a second of what the browsers say spells its own number
// (internal/tonecode), and the recognizer reads it again: on the real way from
// browser to transcript, each number arrives exactly once, in order.
import { describe, it } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { chromium, firefox, hear, open, slow, until } from './browsers.js';
import { Balancer, Postgres } from './nodes.js';
import { Server, artifacts, binary } from './server.js';

const recognizer = join(dirname(binary), 'verbatim-tonecode');
const wav = execFileSync(recognizer, ['signal', '0', '600'], { maxBuffer: 1 << 24 });
const signal = { path: join(artifacts, 'tonecode.wav'), base64: wav.toString('base64') };
writeFileSync(signal.path, wav);

const browsers = { chromium: () => chromium({ wav: signal.path }), firefox };
const spoken = (number) => number % 40 < 30; // the rest of each 4 s is a pause

/** A meeting of one browser, on a server of its own. */
async function meet(name, launch, test) {
  const server = await Server.start(`tonecode-${name}`, '--recognizer', `command:${recognizer}`);
  const browser = await launch();
  try {
    const page = await open(browser, server.url, 'tones');
    if (browser.process()?.spawnfile.includes('firefox')) await hear(page, signal);
    await page.goto(page.address);
    await page.evaluate(enter);
    await test(server, page);
    await page.evaluate(() => window.verbatim.leave());
    return await transcript(server);
  } finally {
    await browser.close();
    await server.stop();
  }
}

// Runs in the page.
async function enter() {
  const { Verbatim } = await import('/client/verbatim.js');
  // What browsers do to a voice is not made for tones.
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  window.verbatim = new Verbatim({ room: 'tones', participant: 'ada', audio });
  await window.verbatim.join();
}

/** Waits until the newest track is that long. */
function heard(server, seconds, tracks = 1) {
  return until(
    async () => {
      const { meeting } = await server.json('v1/rooms/tones');
      return meeting?.tracks.length >= tracks && meeting.tracks.at(-1).coverage.duration_ms >= 1000 * seconds;
    },
    `${seconds} s on track ${tracks}`,
    1000 * (seconds + 60),
  );
}

/** The transcript of the room's one meeting, when it is complete: the numbers of each track. */
async function transcript(server) {
  const { meetings } = await server.json('v1/meetings?room=tones');
  assert.equal(meetings.length, 1);
  await server.json(`v1/meetings/${meetings[0].id}/end`, { method: 'POST' });
  const doc = await until(async () => {
    const d = await server.json(`v1/meetings/${meetings[0].id}/transcript.json`);
    return d.complete && d;
  }, 'a complete transcript');
  const c = doc.meeting.coverage;
  assert.equal(c.transcribed_ms, c.duration_ms, JSON.stringify(c));
  const tracks = new Map(doc.meeting.tracks.map((t) => [t.id, []]));
  for (const s of doc.segments) tracks.get(s.track).push(...s.words.map((w) => Number(w.text.slice(1))));
  return [...tracks.values()];
}

/** Fails unless these are all numbers from the first to the last, once and in order. */
function whole(numbers, seconds) {
  const want = [];
  for (let n = numbers[0]; n <= numbers.at(-1); n++) if (spoken(n)) want.push(n);
  const missing = want.filter((n) => !numbers.includes(n));
  const again = numbers.filter((n, i) => numbers.indexOf(n) !== i);
  assert.deepEqual({ missing, again }, { missing: [], again: [] });
  assert.deepEqual(numbers, want); // in order
  const least = Math.floor(seconds * 7.5) - 10; // where it begins in the sentence, and what was not yet connected
  assert.ok(numbers.length >= least, `${numbers.length} numbers in ${seconds} s, at least ${least}`);
}

/** The server's recognizers: its child processes. */
function recognizers(server) {
  const { pid } = server.process;
  return readdirSync(`/proc/${pid}/task`).flatMap((tid) =>
    readFileSync(`/proc/${pid}/task/${tid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
  );
}

describe('every number once, in order', { concurrency: true }, () => {
  for (const [name, launch] of Object.entries(browsers)) {
    it(name, async () => {
      const tracks = await meet(name, launch, (server) => heard(server, 15 * slow));
      assert.equal(tracks.length, 1);
      whole(tracks[0], 15);
    });
  }
});

describe('the recognizer dies, the server dies, the page is reloaded', { concurrency: true }, () => {
  for (const [name, launch] of Object.entries(browsers)) {
    it(name, async (t) => {
      const tracks = await meet(`${name}-faults`, launch, async (server, page) => {
        await heard(server, 4);
        const pids = recognizers(server);
        assert.equal(pids.length, 1);
        process.kill(pids[0], 'SIGKILL');
        await heard(server, 8);
        await server.down('SIGKILL');
        await server.up();
        await heard(server, 4, 2);
        await page.reload();
        await page.evaluate(enter);
        await heard(server, 4, 3);
      });
      assert.equal(tracks.length, 3);
      tracks.forEach((numbers, i) => whole(numbers, i === 0 ? 7 : 4)); // a server that is killed has half a second in memory
      const [first, second] = tracks;
      assert.ok(second[0] > first.at(-1), `${second[0]} after ${first.at(-1)}: what was said was heard twice`);
      t.diagnostic(`while the server was down: ${second[0] - first.at(-1) - 1} numbers and pauses`);
    });
  }
});

describe('a server shuts down, and another one of its database takes over', () => {
  it('chromium', async () => {
    const postgres = await Postgres.start();
    const servers = [];
    const balancer = await Balancer.start(() => servers);
    const browser = await browsers.chromium();
    try {
      for (const name of ['n1', 'n2']) {
        const s = await Server.start(`tonecode-${name}`, '--recognizer', `command:${recognizer}`, '--db', postgres.url, '--node', name,
          '--cors-origin', balancer.url.slice(0, -1), '--node-url', (port) => `http://127.0.0.1:${port}`);
        servers.push(s);
      }
      const page = await open(browser, balancer.url, 'tones');
      await page.goto(page.address);
      await page.evaluate(enter);
      await heard(balancer, 6);
      await servers[0].down('SIGTERM');
      await heard(balancer, 6, 2);
      await page.evaluate(() => window.verbatim.leave());
      // Its sessions are at the servers, to which the page of the balancer spoke.
      await until(async () => {
        const { meeting } = await balancer.json('v1/rooms/tones');
        return meeting.participants.every((p) => p.left_at) && meeting.tracks.every((t) => t.ended_by === 'left');
      }, 'to have left');
      const metrics = await (await fetch(`${servers[1].url}metrics`)).text();
      assert.match(metrics, /http_requests_total\{code="200",method="DELETE"/, 'the page could end its session');
      const [first, second] = await transcript(balancer);
      whole(first, 6);
      whole(second, 6);
      // While both sessions were there, what was said went to both.
      const between = [];
      for (let n = first.at(-1) + 1; n < second[0]; n++) if (spoken(n)) between.push(n);
      assert.deepEqual(between, [], 'what nobody heard');
      assert.deepEqual(page.complaints.filter((c) => !/ERR_|Failed to fetch/.test(c)), []);
    } finally {
      await browser.close();
      balancer.stop();
      for (const s of servers) await s.stop();
      await postgres.stop();
    }
  });
});
