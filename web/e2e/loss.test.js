// Packets are lost between real browsers and the server: they are sent again
// because the server asks, or carried by redundancy.
import { after, describe, it } from 'node:test';
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { chromium, enter, firefox, hear, open, until } from './browsers.js';
import { Server } from './server.js';
import { recording } from './speech.js';

const seconds = 15;
const speech = recording(['sas-0870'], { lead: 500, pause: 500 });
const closers = [];
after(async () => {
  for (const close of closers.reverse()) await close();
});

// Not loopback: Firefox pairs that with no other address of its own.
const address = Object.values(networkInterfaces())
  .flat()
  .find((a) => a.family === 'IPv4' && !a.internal)?.address;
assert.ok(address, 'the test needs a network interface besides loopback');

/** A UDP path to a port of this machine that loses a tenth of the RTP on its way there. */
async function lossyPath(port) {
  const front = createSocket('udp4').bind(0, address);
  await once(front, 'listening');
  const clients = new Map(); // the browser's ports, each with a socket of its own
  const seen = { lost: 0, types: new Set() };
  let seed = 1;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647; // MINSTD: the same each time
  front.on('message', (p, from) => {
    const rtp = p[0] >= 128 && p[0] < 192 && (p[1] < 192 || p[1] > 223);
    if (rtp) seen.types.add(p[1] & 127);
    if (rtp && random() < 0.1) {
      seen.lost++;
      return;
    }
    let back = clients.get(from.port);
    if (!back) {
      back = createSocket('udp4');
      back.on('message', (q) => front.send(q, from.port, from.address));
      clients.set(from.port, back);
    }
    back.send(p, port, address);
  });
  closers.push(() => {
    front.close();
    for (const c of clients.values()) c.close();
  });
  return { port: front.address().port, seen };
}

/** Makes the page know the server by that media port alone. */
function detour(page, port) {
  return page.evaluateOnNewDocument((...to) => {
    const realFetch = window.fetch;
    window.fetch = (url, o) =>
      // Or the server finds the browser by itself.
      realFetch(url, /^v=0/.test(o?.body) ? { ...o, body: o.body.replace(/a=candidate:.*\r\n/g, '') } : o);
    const real = RTCPeerConnection.prototype.setRemoteDescription;
    RTCPeerConnection.prototype.setRemoteDescription = function (d) {
      let kept = false;
      const sdp = d.sdp.split('\r\n').map((l) => {
        if (!l.startsWith('a=candidate:')) return l;
        if (kept) return null;
        kept = true;
        const f = l.split(' ');
        [f[4], f[5]] = to;
        return f.join(' ');
      });
      return real.call(this, { type: d.type, sdp: sdp.filter((l) => l !== null).join('\r\n') });
    };
  }, address, String(port));
}

async function lossyMeeting(name, launch, flags, sends) {
  const server = await Server.start(`loss-${name}`, '--recognizer', 'none:', ...flags);
  closers.push(() => server.stop());
  const path = await lossyPath(server.media);
  const browser = await launch();
  closers.push(() => browser.close());
  const page = await open(browser, server.url, 'lossy');
  if (name === 'firefox') await hear(page, speech);
  await detour(page, path.port);
  await enter(page, name);
  const meeting = await until(
    async () => {
      const [m] = (await server.json('v1/meetings')).meetings;
      // How many of the lost packets carry speech is chance: it goes on until enough did.
      return m?.coverage.duration_ms >= seconds * 1000 && m.coverage.recovered_ms >= 500 && m;
    },
    `${seconds} s of audio, and half a second of it recovered`,
  );
  const payloadTypes = [...path.seen.types];
  assert.deepEqual(payloadTypes, [sends], 'the payload types on the wire');
  const c = meeting.coverage;
  const parts = c.received_ms + c.recovered_ms + c.concealed_ms + c.silence_ms + c.discontinuity_ms + c.shed_ms;
  assert.equal(parts, c.duration_ms, 'the account adds up');
  assert.ok(path.seen.lost >= 10, `only ${path.seen.lost} packets were lost on the way`);
  assert.ok(c.recovered_ms >= 500, `${c.recovered_ms} ms were recovered after ${path.seen.lost} lost packets`);
  assert.equal(c.concealed_ms, 0, `${c.concealed_ms} ms stayed lost after ${path.seen.lost} lost packets`);
}

describe('a path that loses a tenth', { concurrency: true }, () => {
  it('Chromium sends again what is lost', () => lossyMeeting('chromium', () => chromium({ wav: speech.path }), [], 111));
  it('Chromium carries it twice when asked for redundancy', () =>
    lossyMeeting('chromium-red', () => chromium({ wav: speech.path }), ['--red'], 63));
  it('Firefox sends again what is lost', () => lossyMeeting('firefox', firefox, [], 109));
});
