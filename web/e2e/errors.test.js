// What can go wrong is said in plain words, and what to do about it.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { chromium, enter, open, shot, state, text, until } from './browsers.js';
import { Server } from './server.js';

let server, browser;

before(async () => {
  server = await Server.start('errors');
  browser = await chromium();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

async function noticed(page, code, words) {
  await until(async () => (await page.$eval('#notice', (n) => !n.hidden && n.dataset.code)) === code, `the notice ${code}`);
  assert.match(await text(page, 'notice'), words);
  await shot(page, `error-${code}`);
}

const inLobby = (page) => page.$eval('#lobby', (n) => !n.hidden);

test('a room’s name that cannot be', async () => {
  const page = await open(browser, server.url, 'No%20Such%20Room!');
  await page.goto(page.address);
  assert.match(await text(page, 'room-error'), /small letters/);
  await page.locator('[data-testid="join"]').click();
  assert.ok(await inLobby(page));
  assert.equal(await page.evaluate(() => document.activeElement.id), 'room');
  await page.locator('[data-testid="room"]').fill('');
  await page.locator('[data-testid="listen"]').click();
  assert.match(await text(page, 'room-error'), /Which room/);
  await page.close();
});

test('no microphone', async (t) => {
  const page = await open(browser, server.url, 'daily');
  await page.evaluateOnNewDocument(() => {
    navigator.mediaDevices.getUserMedia = async () => {
      throw new DOMException('Requested device not found', 'NotFoundError');
    };
  });
  t.after(() => page.close());
  await enter(page, 'Ada');
  await noticed(page, 'no-microphone', /No microphone was found\. Plug one in, then try again\./);
  assert.ok(await inLobby(page), 'the form is there to try again');
  // Reading along needs none.
  await page.locator('[data-testid="listen"]').click();
  await state(page, 'connected');
  assert.equal(await text(page, 'state'), 'Reading along');
  assert.equal(await page.$eval('#notice', (n) => n.hidden), true);
});

test('the permission is denied, and then given', async () => {
  const asking = await chromium({ ui: false });
  try {
    const context = asking.defaultBrowserContext();
    await context.overridePermissions(server.url, []);
    const page = await open(asking, server.url, 'daily');
    await enter(page, 'Ada');
    await noticed(page, 'permission-denied', /may not use the microphone\. Allow it/);
    await context.overridePermissions(server.url, ['microphone']);
    await page.locator('[data-testid="join"]').click();
    await state(page, 'connected');
    assert.equal(await page.$eval('#notice', (n) => n.hidden), true);
    await page.click('[data-testid="leave"]');
  } finally {
    await asking.close();
  }
});

test('an insecure page', async () => {
  const page = await open(browser, server.url, 'daily');
  await page.evaluateOnNewDocument(() => {
    Object.defineProperty(navigator, 'mediaDevices', { value: undefined });
    Object.defineProperty(window, 'isSecureContext', { value: false });
  });
  await page.goto(page.address);
  await noticed(page, 'insecure-context', /secure pages only.*https:\/\/.*read along/);
  await page.locator('[data-testid="join"]').click();
  await noticed(page, 'insecure-context', /secure pages only/);
  await page.close();
});

test('a refusal is shown in the server’s own words', async () => {
  const page = await open(browser, server.url, 'daily');
  await page.setRequestInterception(true);
  page.on('request', (r) => {
    if (!r.url().includes('/whip?')) return r.continue();
    const detail = 'This room is full. Ask someone to leave it.';
    return r.respond({ status: 403, contentType: 'application/problem+json', body: JSON.stringify({ detail }) });
  });
  await enter(page, 'Ada');
  await noticed(page, 'forbidden', /^This room is full\. Ask someone to leave it\.$/);
  assert.ok(await inLobby(page));
  await page.close();
});

test('a microphone that is unplugged', async () => {
  const page = await open(browser, server.url, 'daily');
  await page.evaluateOnNewDocument(() => {
    const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (c) => {
      if (window.unplugged) throw new DOMException('Requested device not found', 'NotFoundError');
      const stream = await real(c);
      window.track = stream.getAudioTracks()[0];
      return stream;
    };
  });
  await enter(page, 'Ada');
  await state(page, 'connected');
  await page.evaluate(() => {
    window.unplugged = true;
    window.track.dispatchEvent(new Event('ended'));
  });
  await noticed(page, 'no-microphone', /No microphone was found/);
  await page.click('[data-testid="leave"]');
  await page.close();
});

test('no server: said at once, and joined when it is there', async () => {
  const page = await open(browser, server.url, 'daily');
  await page.goto(page.address);
  await page.locator('[data-testid="name"]').fill('Ada');
  await server.down();
  await page.locator('[data-testid="join"]').click();
  await noticed(page, 'no-server', /The server does not answer\. Check that it is running/);
  assert.equal(await text(page, 'state'), 'Connecting…');
  await server.up();
  await state(page, 'connected');
  assert.equal(await page.$eval('#notice', (n) => n.hidden), true);
  await page.close();
});
