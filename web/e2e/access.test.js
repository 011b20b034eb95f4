// A server that asks for tokens: who has none is asked for an invitation, who
// pastes theirs speaks under the name in it, and afterwards hears the recording.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { captions, chromium, enter, firefox, open, shot, state, until } from './browsers.js';
import { Server, binary } from './server.js';
import { recall, recording, wordsOf } from './speech.js';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const spoken = recording(['sas-0880'], { lead: 1_000, pause: 60_000 });
const folder = mkdtempSync(join(tmpdir(), 'verbatim-access-'));
const secret = join(folder, 'secret');
writeFileSync(secret, 'the-secret-of-this-test-0123456789abcdef');

let server, chrome, fox;

before(async () => {
  server = await Server.start('access', '--linger', '1s', '--auth-secret-file', secret);
  [chrome, fox] = await Promise.all([chromium({ wav: spoken.path }), firefox()]);
});

after(async () => {
  await Promise.all([chrome, fox].map((b) => b?.close()));
  await server?.stop();
  rmSync(folder, { recursive: true });
});

function invitation(...flags) {
  return execFileSync(binary, ['token', '--auth-secret-file', secret, '--room', 'daily', '--url', server.url, ...flags], { encoding: 'utf8' }).trim();
}

async function dialog(page) {
  await page.waitForSelector('[data-testid="token-dialog"][open]');
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run('[data-testid="token-dialog"]'));
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes[0].html}`), []);
}

async function paste(page, text) {
  await page.locator('#token').fill(text);
  await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
}

test('an invitation is asked for, and is enough from then on', async () => {
  const page = await open(chrome, server.url, 'daily');
  await page.setViewport({ width: 390, height: 844 });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: 'dark' }]);
  await enter(page, 'Somebody else');
  await dialog(page);
  await shot(page, 'access-dialog-phone-dark');
  // Escape is an answer, too.
  await page.keyboard.press('Escape');
  await until(async () => !(await page.$('[data-testid="token-dialog"]')), 'no dialog');
  await enter(page, 'Somebody else');
  await dialog(page);
  await paste(page, invitation('--participant', 'ada', '--name', 'Ada', '--act', 'publish,listen,manage'));
  assert.equal(await page.$eval('[data-testid="name"]', (n) => `${n.value} ${n.readOnly}`), 'Ada true');
  await page.locator('[data-testid="join"]').click();
  await state(page, 'connected');
  await until(async () => {
    const said = (await captions(page)).filter((c) => c.final && c.speaker === 'Ada');
    return recall(wordsOf('sas-0880'), said.map((c) => c.text).join(' ')) >= 0.5;
  }, 'the words', 60_000);
  // While the recognizer is behind, that stands there, too.
  await until(async () => (await page.$$eval('[data-testid="person"]', (all) => all.map((p) => p.textContent.replace(/\s+/g, ' ')).join())) === 'Adayou', 'Ada alone');
  assert.deepEqual(page.complaints, []);
  await page.click('[data-testid="leave"]');

  // The meeting's page: the recording plays and can be jumped in, files are saved.
  const link = await page.$eval('[data-testid="after-page"]', (a) => a.href);
  await page.goto(link);
  await until(() => page.$eval('[data-testid="audio"]', (a) => a.readyState > 0 && a.seekable.length > 0 && a.seekable.end(0) > 3), 'the recording');
  assert.match(await page.$eval('[data-testid="audio"]', (a) => a.src), /audio\.flac\?expires=\d+&signature=/);
  const session = await page.createCDPSession();
  await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: folder });
  await page.$eval('[data-testid="download-vtt"]', (a) => a.click());
  const vtt = await until(() => readdirSync(folder).find((f) => f.endsWith('.vtt') && statSync(join(folder, f)).size > 0), 'the download');
  assert.match(readFileSync(join(folder, vtt), 'utf8'), /^WEBVTT/);
});

test('a link with a token in it opens the page, and leaves the address', async () => {
  const page = await fox.newPage();
  await page.setViewport({ width: 1280, height: 860 });
  await page.goto(invitation('--name', 'Grace', '--act', 'listen').replace(/\?.*#/, 'meetings#'));
  await until(async () => (await page.$$('[data-testid="meeting"]')).length === 1, 'the list');
  assert.equal(await page.evaluate(() => location.href), `${server.url}meetings`);
  await page.click('[data-testid="meeting"] a');
  await until(() => page.$eval('[data-testid="audio"]', (a) => a.readyState > 0), 'the recording');
  await page.click('[data-testid="erase"]');
  await page.click('[data-testid="erase-yes"]');
  await until(() => page.$eval('#notice', (n) => !n.hidden && n.textContent.includes('does not allow')), 'that it is refused');
  await shot(page, 'access-refused');
});

test('an invitation whose time is over is asked for again', async () => {
  const page = await chrome.newPage();
  await page.setViewport({ width: 1280, height: 860 });
  await page.goto(invitation('--name', 'Grace', '--for', '1ms').replace(/\?.*#/, 'meetings#'));
  await new Promise((r) => setTimeout(r, 11_000)); // clocks may differ by 10 s
  await page.reload();
  await dialog(page);
  await shot(page, 'access-expired');
  await paste(page, invitation('--name', 'Grace').split('token=')[1]); // the bare token will do
  await until(async () => (await page.$$('[data-testid="meeting"]')).length === 1, 'the list');
});
