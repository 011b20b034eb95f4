// Clients that nobody here wrote send recorded speech; what arrives is compared
// with what they sent.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { chromium, firefox, hear, open, slow, until } from './browsers.js';
import { compare } from './compare.js';
import { Server } from './server.js';
import { recording, voice, wavSamples } from './speech.js';

const python = process.env.PYTHON ?? '/usr/bin/python3';

const long = recording(['sas-0870'], { lead: 500, pause: 500 });
const short = recording(['sas-0880'], { lead: 300, pause: 300 });
let server;

before(async () => {
  server = await Server.start('clients', '--recognizer', 'none:');
});

after(() => server?.stop());

/**
 * A browser joins by our client library. Its microphone hears the recording over
 * and over; it leaves when it must have said the speech once from beginning to end.
 */
function browser(launch, prepare) {
  return async (room) => {
    const b = await launch();
    try {
      const page = await open(b, server.url, room);
      await prepare?.(page);
      await page.goto(page.address);
      await page.evaluate(join, room);
      const [{ from, to }] = long.spans;
      const enough = long.seconds * 1000 + to - from;
      await until(async () => {
        const { meeting } = await server.json(`/v1/rooms/${room}`);
        return meeting?.tracks[0]?.coverage.duration_ms > enough;
      }, `${enough} ms of audio`, 4 * enough);
      await page.evaluate(() => window.verbatim.leave());
    } finally {
      await b.close();
    }
  };
}

// Runs in the page.
async function join(room) {
  const { Verbatim } = await import('/client/verbatim.js');
  // What browsers do to a voice before it is coded is not what is measured here.
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  window.verbatim = new Verbatim({ room, audio });
  await window.verbatim.join();
}

/** One of the programs in clients/ sends the whole recording. */
function program(script, speech, ...args) {
  return async (room) => {
    const file = resolve(import.meta.dirname, 'clients', script);
    const endpoint = `${server.url}v1/rooms/${room}/whip`;
    const p = spawn(python, [file, speech.path, endpoint, ...args], { timeout: 60_000 * slow, stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    p.stderr.setEncoding('utf8').on('data', (s) => (said += s));
    const [code, signal] = await once(p, 'close');
    assert.equal(code, 0, `${script} ended with ${signal ?? code}: ${said}`);
  };
}

/** The only track of the room, once all of it has been taken in: its account, and its audio. */
async function arrived(room) {
  const { meetings: [{ id }] } = await server.json(`/v1/meetings?room=${room}`);
  await server.json(`/v1/meetings/${id}/end`, { method: 'POST' });
  const track = await until(async () => {
    const { tracks } = await server.json(`/v1/meetings/${id}`);
    assert.equal(tracks.length, 1, 'tracks of the meeting');
    return tracks[0].state === 'complete' && tracks[0];
  }, 'the track to be complete');
  assert.equal(track.ended_by, 'left');
  const res = await fetch(`${server.url}v1/meetings/${id}/tracks/${track.id}/audio.wav`);
  assert.equal(res.status, 200);
  return { coverage: track.coverage, pcm: wavSamples(Buffer.from(await res.arrayBuffer())) };
}

/**
 * Declares the test of a client.
 * @param {string} name
 * @param {object} c
 * @param {ReturnType<recording>} c.speech
 * @param {(room: string) => Promise<void>} c.send
 * @param {[number, number, number]} c.alike the least correlation of the whole,
 *   of a second, and of a loud 60 ms: as measured, less what it may vary
 * @param {number} [c.gain] how many times louder it sends than it is given
 * @param {boolean} [c.telephone] it sends no more than what a telephone carries
 * @param {boolean} [c.dtx] it does not send silence
 * @param {number} [c.packet] of those that send the whole recording: the length of
 *   their packets in ms
 */
function client(name, c) {
  test(name, async (t) => {
    const room = name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
    await c.send(room);
    const { coverage, pcm } = await arrived(room);
    const [said] = c.speech.spans;
    const r = compare(voice(said.name), pcm, c.telephone);
    const late = r.at - said.from;
    const rounded = Object.entries({ ...r, late }).map(([k, v]) => `${k} ${v.toFixed(3)}`);
    t.diagnostic(`${rounded.join(', ')}, ${JSON.stringify(coverage)}`);

    const [alike, piece, packet] = c.alike;
    assert.ok(r.shift <= 20, `it was stretched or cut by ${r.shift} ms`);
    assert.ok(r.alike >= alike, `it is alike by ${r.alike}`);
    assert.ok(r.piece >= piece, `a second of it is alike by ${r.piece}`);
    assert.ok(r.packet >= packet, `60 ms of it are alike by ${r.packet}`);
    assert.ok(Math.abs(r.gain / (c.gain ?? 1) - 1) < 0.15, `it is ${r.gain} times as loud`);

    const { duration_ms: duration, received_ms: received, silence_ms: silence } = coverage;
    const account = JSON.stringify(coverage);
    assert.equal(received + silence, duration, account);
    assert.ok(Math.abs(duration - pcm.length / 16) <= 1, `${pcm.length / 16} ms of audio: ${account}`);
    assert.equal(silence > 0, c.dtx ?? false, account);

    if (c.packet === undefined) return;
    assert.ok(Math.abs(late) <= 20, `it begins ${late} ms late`);
    // Silence at the end is not there when no packet came after it; Opus sends
    // one every 400 ms.
    const least = c.dtx ? -420 : -20;
    const longer = duration - c.speech.seconds * 1000;
    assert.ok(longer >= least && longer <= c.packet + 20, `${longer} ms longer than the recording`);
  });
}

client('Chromium', {
  speech: long,
  send: browser(() => chromium({ wav: long.path })),
  alike: [0.9, 0.85, 0.8],
  dtx: true,
});

client('Firefox', {
  speech: long,
  send: browser(firefox, (page) => hear(page, long)),
  alike: [0.9, 0.83, 0.5],
  dtx: true,
});

// FFmpeg, by which it reads files, makes of mono a stereo of 0.7 times the level.
client('aiortc', {
  speech: long,
  send: program('aiortc_whip.py', long),
  gain: 0.707,
  alike: [0.93, 0.88, 0.85],
  packet: 20,
});

client('GStreamer', {
  speech: long,
  send: program('gstreamer_whip.py', long),
  alike: [0.98, 0.97, 0.95],
  packet: 20,
});

for (const packet of [2.5, 5, 10, 40, 60]) {
  client(`GStreamer, packets of ${packet} ms`, {
    speech: short,
    send: program('gstreamer_whip.py', short, 'opus', packet),
    alike: [0.98, 0.97, 0.95],
    packet,
  });
}

client('GStreamer, silence not sent', {
  speech: short,
  send: program('gstreamer_whip.py', short, 'opus', 20, 'dtx'),
  alike: [0.9, 0.88, 0.75],
  dtx: true,
  packet: 20,
});

for (const codec of ['PCMU', 'PCMA']) {
  // It adds up the two channels without halving them.
  client(`aiortc, ${codec}`, {
    speech: short,
    send: program('aiortc_whip.py', short, codec),
    gain: 1.414,
    telephone: true,
    alike: [0.96, 0.92, 0.97],
    packet: 20,
  });

  for (const packet of [20, 60]) {
    client(`GStreamer, ${codec}, packets of ${packet} ms`, {
      speech: short,
      send: program('gstreamer_whip.py', short, codec, packet),
      telephone: true,
      alike: [0.98, 0.97, 0.95],
      packet,
    });
  }
}
