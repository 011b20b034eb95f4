// The client as a web app of another origin uses it, in both browsers: another
// network, another microphone, a session that is gone, and what there is to ask
// for afterwards. And the example, which is three lines.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { chromium, firefox, hear, slow, until } from './browsers.js';
import { Server, artifacts } from './server.js';
import { recall, recording, wordsOf } from './speech.js';

const speech = recording(['sas-0870'], { lead: 500, pause: 2_000 });
const words = wordsOf('sas-0870');
const browsers = { chromium: () => chromium({ wav: speech.path }), firefox };
let server, app;

before(async () => {
  app = createServer((req, res) => {
    if (req.url === '/healthz') return res.writeHead(200).end(); // see hear()
    return res.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><html lang="en"><title>An app</title>');
  });
  app.listen(0, '127.0.0.1');
  await once(app, 'listening');
  app.url = `http://127.0.0.1:${app.address().port}`;
  server = await Server.start('client', '--cors-origin', app.url);
});

after(async () => {
  app?.closeAllConnections();
  app?.close();
  await server?.stop();
});

/**
 * Runs test with a page of the app that is in the room, as window.room. Without
 * speaks it has the browser's own fake microphones.
 */
async function meet(name, room, test, { speaks = true, ...options } = {}) {
  const browser = await browsers[name]();
  try {
    const page = await browser.newPage();
    const complaints = [];
    page.on('pageerror', (e) => complaints.push(e.message));
    await page.evaluateOnNewDocument(spy);
    if (name === 'firefox' && speaks) await hear(page, speech);
    await page.goto(app.url);
    await page.evaluate(enter, server.url, room, options);
    await until(() => page.evaluate(() => window.told.includes('connected')), 'a connection');
    await test(page);
    assert.deepEqual(complaints, []);
  } finally {
    await browser.close();
  }
}

// Runs in the page, before all else: what it asks the server for, and its microphones.
function spy() {
  window.asked = [];
  const real = window.fetch;
  window.fetch = async (url, init = {}) => {
    const method = init.method ?? 'GET';
    if (window.refuse === method) return new Response('', { status: 404 });
    const res = await real(url, init);
    window.asked.push({ method, url: String(url), status: res.status, ifMatch: init.headers?.['If-Match'], tag: res.headers.get('ETag') });
    return res;
  };
}

// Runs in the page.
async function enter(url, room, options) {
  const { Verbatim } = await import(`${url}client/verbatim.js`);
  window.Verbatim = Verbatim;
  window.told = [];
  window.details = [];
  const getUserMedia = async (c) => {
    if (window.unplugged) throw new DOMException('Requested device not found', 'NotFoundError');
    const stream = await navigator.mediaDevices.getUserMedia(c);
    window.track = stream.getAudioTracks()[0];
    return stream;
  };
  window.room = new Verbatim({ url, room, name: 'Ada', participant: 'ada', token: 'nobody asks for it', getUserMedia, ...options });
  window.room.addEventListener('state', (e) => window.told.push(e.detail.state));
  window.room.addEventListener('error', (e) => window.told.push(e.detail.code));
  window.room.addEventListener('devices', (e) => window.told.push(`${e.detail.length} devices`));
  for (const type of ['state', 'meeting', 'caption', 'joined', 'left', 'coverage', 'ended', 'erased', 'devices', 'level']) {
    window.room.addEventListener(type, (e) => window.details.push([type, e.detail]));
  }
  await window.room.join();
}

// Runs in the page. What Firefox hears has an end; in Chromium it is played.
function unplug(last) {
  window.unplugged = last;
  if (window.player) {
    window.player.loop = false;
    window.player.currentTime = window.player.duration - 0.3;
    return;
  }
  window.track.stop();
  window.track.dispatchEvent(new Event('ended'));
}

const told = (page) => page.evaluate(() => window.told);
const asked = (page, method) => page.evaluate((m) => window.asked.filter((a) => a.method === m), method);

/** Waits until that many tracks are there and the newest one grows. */
async function heard(room, tracks) {
  const now = async () => {
    const { meeting } = await server.json(`v1/rooms/${room}`);
    assert.ok((meeting?.tracks.length ?? 0) <= tracks, 'no more tracks than that');
    assert.ok((meeting?.participants.length ?? 0) <= 1, 'one participant');
    return meeting?.tracks.length === tracks ? meeting.tracks.at(-1).coverage.received_ms : 0;
  };
  const from = await until(now, `track ${tracks}`);
  await until(async () => (await now()) > from + 2_000, `more audio on track ${tracks}`);
}

for (const name of Object.keys(browsers)) {
  describe(name, () => {
    test('another network: ICE restarts in the same session, the stream is opened anew, nothing is said', async () => {
      const room = `network-${name}`;
      await meet(name, room, async (page) => {
        await heard(room, 1);
        const before = await told(page);
        if (name === 'chromium') {
          await page.setOfflineMode(true);
          await page.setOfflineMode(false);
        } else {
          await page.evaluate(() => window.dispatchEvent(new Event('online')));
        }
        await until(async () => (await asked(page, 'PATCH')).some((p) => p.status === 200 && p.ifMatch === '*' && p.tag), 'the restart');
        await until(async () => (await asked(page, 'GET')).filter((g) => g.url.endsWith('/events')).length >= 2, 'the stream');
        await heard(room, 1);
        if (name === 'firefox') assert.deepEqual(await told(page), before);
        assert.equal((await told(page)).at(-1), 'connected');
        assert.equal((await asked(page, 'POST')).length, 1);
      });
    });

    test('a session that the server does not know is followed by a new one', async () => {
      const room = `gone-${name}`;
      await meet(name, room, async (page) => {
        await heard(room, 1);
        await page.evaluate(() => {
          window.refuse = 'PATCH';
          window.dispatchEvent(new Event('online'));
        });
        await until(async () => (await asked(page, 'POST')).length === 2, 'a new session');
        await heard(room, 2);
        await until(async () => (await told(page)).at(-1) === 'connected', 'the connection');
        assert.deepEqual((await told(page)).slice(-3), ['reconnecting', 'connection-lost', 'connected']);
      });
    });

    test('another microphone, in the same session', async () => {
      const room = `choice-${name}`;
      const choose = async (page) => {
        await heard(room, 1);
        const devices = await page.evaluate(() => window.Verbatim.devices());
        assert.ok(devices.every((d) => d.id && d.label) && devices.length >= 1, JSON.stringify(devices));
        const { id } = devices.at(-1);
        await page.evaluate((id) => window.room.setDevice(id), id);
        assert.equal(await page.evaluate(() => window.room.deviceId), id);
        await heard(room, 1);
      };
      await meet(name, room, choose, { speaks: false });
    });

    test('a microphone of another day that is not there', async () => {
      const room = `remembered-${name}`;
      await meet(name, room, () => heard(room, 1), { speaks: false, deviceId: 'of-another-day' });
    });

    test('a microphone that is unplugged, the last one too, and one that is plugged in', async () => {
      const room = `unplugged-${name}`;
      await meet(name, room, async (page) => {
        await heard(room, 1);
        await page.evaluate(unplug, false);
        await until(async () => (await told(page)).includes('microphone-lost'), 'the error');
        await until(() => page.evaluate(() => window.track.readyState === 'live'), 'another microphone');
        await until(async () => /devices$/.test((await told(page)).at(-1)), 'the news of it');
        await heard(room, 1);

        await page.evaluate(unplug, true);
        await until(async () => (await told(page)).at(-1) === 'no-microphone', 'the other error');
        await page.evaluate(() => navigator.mediaDevices.dispatchEvent(new Event('devicechange')));
        await until(async () => /devices$/.test((await told(page)).at(-1)), 'the devices');
        await page.evaluate(() => {
          window.unplugged = false;
          navigator.mediaDevices.dispatchEvent(new Event('devicechange'));
        });
        await until(() => page.evaluate(() => window.track.readyState === 'live'), 'a microphone again');
        await heard(room, 1);
        assert.deepEqual((await told(page)).filter((what) => /microphone/.test(what)), ['microphone-lost', 'microphone-lost', 'no-microphone']);
        assert.equal(await page.evaluate(() => window.room.state), 'connected');
        assert.equal((await asked(page, 'POST')).length, 1);
      });
    });

    test('the example shows what is said', async () => {
      const browser = await browsers[name]();
      try {
        const page = await browser.newPage();
        const complaints = [];
        page.on('pageerror', (e) => complaints.push(e.message));
        page.on('console', (m) => m.type() === 'error' && !m.location()?.url?.endsWith('favicon.ico') && complaints.push(m.text()));
        if (name === 'firefox') await hear(page, speech);
        await page.goto(`${server.url}client/example/`);
        const said = () => page.$eval('#said', (n) => n.textContent);
        await until(async () => /^Ada: /.test(await said()) && recall(words, await said()) >= 0.3, 'the words', 60_000);
        assert.deepEqual(complaints, []);
      } finally {
        await browser.close();
      }
    });
  });
}

test('the chosen microphone takes its place again', async () => {
  const again = async (page) => {
    const chosen = await page.evaluate(async () => (await window.Verbatim.devices()).at(-1).id);
    await page.evaluate((id) => window.room.setDevice(id), chosen);
    const used = () => page.evaluate(() => window.room.deviceId);
    assert.equal(await used(), chosen);
    // Nothing can unplug Chromium's microphones, so it is hidden.
    await page.evaluate((id) => {
      const media = navigator.mediaDevices;
      const list = media.enumerateDevices.bind(media);
      media.enumerateDevices = async () => (await list()).filter((d) => !window.hidden || d.deviceId !== id);
      window.hidden = true;
      window.track.stop();
      window.track.dispatchEvent(new Event('ended'));
      media.dispatchEvent(new Event('devicechange'));
    }, chosen);
    await until(async () => ![chosen, ''].includes(await used()), 'another microphone');
    await heard('again', 1);
    await page.evaluate(() => {
      window.hidden = false;
      navigator.mediaDevices.dispatchEvent(new Event('devicechange'));
    });
    await until(async () => (await used()) === chosen, 'the chosen one');
    await heard('again', 1);
    assert.equal((await asked(page, 'POST')).length, 1);
  };
  await meet('chromium', 'again', again, { speaks: false });
});

test('a server that does not know the page’s origin: the page is told what to do', async () => {
  const strict = await Server.start('client-strict', '--recognizer', 'none:');
  const browser = await browsers.chromium();
  try {
    const page = await browser.newPage();
    await page.goto(app.url);
    const message = await page.evaluate(async (url) => {
      const { Verbatim } = await import(`${url}client/verbatim.js`);
      const room = new Verbatim({ url, room: 'strict' });
      const error = new Promise((resolve) => room.addEventListener('error', (e) => resolve(`${e.detail.code}: ${e.detail.message}`)));
      room.listen();
      return error;
    }, strict.url);
    assert.match(message, new RegExp(`^no-server: .*\\(serve --cors-origin ${app.url}\\)`));
  } finally {
    await browser.close();
    await strict.stop();
  }
});

test('afterwards: what the server answers is what the types say; ended and erased', async () => {
  await meet('chromium', 'after', async (page) => {
    await until(() => page.evaluate(() => window.details.some(([type, d]) => type === 'caption' && d.final)), 'a final', 60_000);
    // The stream goes on behind the last final: nothing comes twice.
    const streams = async () => (await asked(page, 'GET')).filter((g) => g.url.endsWith('/events')).length;
    const before = await streams();
    await page.evaluate(() => window.dispatchEvent(new Event('online')));
    await until(async () => (await streams()) > before, 'the stream, opened anew');
    const finals = await page.evaluate(() => window.details.filter(([type, d]) => type === 'caption' && d.final).map(([, d]) => d.id));
    assert.equal(new Set(finals).size, finals.length);
    const meeting = await page.evaluate(() => window.room.meeting.id);
    await page.evaluate(() => window.room.end());
    await until(async () => (await told(page)).at(-1) === 'left', 'the end for everybody');
    await until(async () => ['complete', 'incomplete'].includes((await server.json(`v1/meetings/${meeting}`)).state), 'the transcript', 60_000);
    const got = await page.evaluate(async () => {
      const { room } = window;
      const [said] = (await room.api.transcript(room.meeting.id)).segments;
      return {
        Meeting: await room.getMeeting(room.meeting.id),
        MeetingList: await room.meetings({ limit: 1 }),
        Transcript: await room.api.transcript(room.meeting.id),
        Stats: await room.stats(),
        RoomStats: await room.api.roomStats('after'),
        SearchResult: await room.search(said.text.split(' ')[0]),
        vtt: await (await room.transcript('vtt')).text(),
      };
    });
    assert.match(got.vtt, /^WEBVTT/);
    assert.ok(got.SearchResult.found.length > 0);
    delete got.vtt;
    const details = await page.evaluate(() => window.details);
    for (const type of ['state', 'meeting', 'caption', 'joined', 'coverage', 'ended', 'level']) assert.ok(details.some(([t]) => t === type), type);
    compile(got, details);

    await page.evaluate(() => window.room.erase(window.room.meeting.id));
    await until(() => page.evaluate((id) => window.details.some(([t, d]) => t === 'erased' && d.meeting === id), meeting), 'the news of it');
    assert.deepEqual(await page.evaluate(() => [window.room.captions.list.length, window.room.meeting]), [0, null]);
    const error = await page.evaluate((id) => window.room.getMeeting(id).catch((e) => ({ code: e.code, status: e.status })), meeting);
    assert.deepEqual(error, { code: 'refused', status: 404 });
  });
});

/** Fails unless each answer has the keys and the types that the package says, no more and no less. */
function compile(answers, details) {
  const client = join(import.meta.dirname, '../client');
  const tsc = join(client, 'node_modules/typescript/bin/tsc');
  execFileSync(process.execPath, [tsc, '-p', client]);
  const lines = [`import type { Events, ${Object.keys(answers).join(', ')} } from '../../client/types/index.js';`];
  for (const [type, answer] of Object.entries(answers)) lines.push(`(${JSON.stringify(answer)}) satisfies ${type};`);
  for (const [type, detail] of details) lines.push(`(${JSON.stringify(detail)}) satisfies Events['${type}'];`);
  writeFileSync(join(artifacts, 'answers.ts'), lines.join('\n'));
  try {
    execFileSync(process.execPath, [tsc, '--strict', '--noEmit', '--module', 'esnext', '--moduleResolution', 'bundler', '--target', 'es2022', '--types', '', '--ignoreConfig', 'answers.ts'], {
      cwd: artifacts,
      encoding: 'utf8',
      timeout: 60_000 * slow,
    });
  } catch (err) {
    assert.fail(`answers.ts: ${err.stdout}`);
  }
}
