// The recognizer cannot start for a while: the page says so, and when it is back
// every second that was said meanwhile gets its words.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { captions, chromium, enter, open, shot, state, text, until } from './browsers.js';
import { Server } from './server.js';
import { recording } from './speech.js';

const keptMs = 25_000; // this much waits when the recognizer is back
const folder = mkdtempSync(join(tmpdir(), 'verbatim-e2e-'));
const model = join(folder, 'model');
let server, browser;

before(async () => {
  const command = `"${process.execPath}" "${join(import.meta.dirname, 'recognizer.js')}" "${model}"`;
  server = await Server.start('recognizer', '--recognizer', `command:${command}`);
  browser = await chromium({ wav: recording(['sas-0870'], { pause: 1_000 }).path });
});

after(async () => {
  await browser?.close();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const track = async () => (await server.json('v1/rooms/daily')).meeting?.tracks[0];

async function metric(name) {
  const lines = (await (await fetch(`${server.url}metrics`)).text()).split('\n');
  return lines.filter((l) => l.startsWith(name)).reduce((sum, l) => sum + Number(l.slice(l.lastIndexOf(' '))), 0);
}

test('a recognizer that is away for a while', async () => {
  const page = await open(browser, server.url, 'daily');
  await page.setViewport({ width: 1280, height: 800 });
  await enter(page, 'Ada');
  await state(page, 'connected');

  await until(async () => /^The recognizer cannot be reached; everything is kept and/.test(await text(page, 'recognizer')), 'that it is away');
  assert.match(await text(page, 'person'), /^Adayourecognizer away, .* kept for it$/);
  assert.ok(['retrying', 'opening', 'circuit_open', 'live', 'catching_up'].includes((await track()).transcription.state));
  assert.ok((await metric('verbatim_recognizer_failures_total')) > 0);
  await shot(page, 'recognizer-is-away');

  await until(async () => (await track()).coverage.pending_ms > keptMs, 'some audio that is kept', 2 * keptMs);
  assert.match(await text(page, 'recognizer'), /cannot be reached/, 'one that cannot start is not back');
  assert.deepEqual(await captions(page), []);
  writeFileSync(model, '');

  await until(async () => /^Catching up: \d+ s behind$/.test(await text(page, 'recognizer')), 'that it catches up', 90_000);
  await shot(page, 'recognizer-catches-up');
  await until(async () => (await text(page, 'recognizer')) === '', 'that all is well', 90_000);
  assert.match(await text(page, 'person'), /^Adayou$/);

  let finals;
  await until(async () => {
    finals = (await captions(page)).filter((c) => c.final).map((c) => c.text);
    return finals.length > keptMs / 1000; // the recognizer has all of it, and takes its time
  }, 'every second that was kept');
  assert.deepEqual(finals, finals.map((_, n) => `second ${n}`));
  assert.equal((await track()).coverage.skipped_ms, 0);
  assert.deepEqual(page.complaints, []);
  await page.click('[data-testid="leave"]');
});
