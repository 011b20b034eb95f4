// A WHIP server of werift that decodes what it gets to 16 kHz mono PCM.
// ../README.md has its environment, its settings, and why they are these.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { connect } from 'node:net';

import opus from '@discordjs/opus';
import { RTCPeerConnection, useOPUS } from 'werift';
import { JitterBufferCallback } from 'werift/nonstandard';

const rate = 16000;
const recordBytes = 36;
const writeBytes = 32 << 10;
const writeAfter = 50; // ms

// Probe tells over a socket what was decoded, and when.
class Probe {
  #socket = connect(process.env.BENCH_PROBE);
  #buffer = Buffer.alloc(writeBytes);
  #length = 0;

  add(stream, end) {
    if (this.#length === 0) {
      setTimeout(() => this.#write(), writeAfter);
    }
    const now = performance.timeOrigin + performance.now(); // ms
    stream.copy(this.#buffer, this.#length);
    this.#buffer.writeBigInt64LE(BigInt(end), this.#length + 16);
    this.#buffer.writeBigInt64LE(BigInt(Math.round(now * 1e6)), this.#length + 24);
    this.#buffer.writeUInt32LE(0, this.#length + 32);
    this.#length += recordBytes;
    if (this.#length + recordBytes > writeBytes) {
      this.#write();
    }
  }

  #write() {
    if (this.#length > 0) {
      this.#socket.write(this.#buffer.subarray(0, this.#length));
      this.#buffer = Buffer.alloc(writeBytes); // the socket has the other one
      this.#length = 0;
    }
  }
}

const probe = new Probe();
const sessions = new Map();

function listen(track, stream) {
  const decoder = new opus.OpusEncoder(rate, 1); // decodes, too
  const buffer = new JitterBufferCallback(48000);
  let end = 0;
  buffer.pipe(({ rtp }) => {
    if (!rtp || rtp.payload.length === 0) {
      return;
    }
    end += decoder.decode(rtp.payload).length / 2;
    probe.add(stream, end);
  });
  track.onReceiveRtp.subscribe((rtp) => buffer.input({ rtp }));
}

async function join(url, offer) {
  const stream = Buffer.from(url.searchParams.get('participant'), 'hex');
  const pc = new RTCPeerConnection({
    codecs: { audio: [useOPUS()] },
    iceServers: [],
    iceLite: true,
    iceUseIpv4: false, // no address but those named here
    iceUseIpv6: false,
    iceAdditionalHostAddresses: ['127.0.0.1'],
    iceInterfaceAddresses: { udp4: '127.0.0.1' },
    bundlePolicy: 'max-bundle',
  });
  const session = randomUUID();
  sessions.set(session, pc);
  pc.onTrack.subscribe((track) => listen(track, stream));
  pc.connectionStateChange.subscribe((state) => {
    if (state === 'failed' || state === 'closed') {
      sessions.delete(session);
    }
  });
  await pc.setRemoteDescription({ type: 'offer', sdp: offer });
  await pc.setLocalDescription(await pc.createAnswer()); // which gathers, too
  return { session, answer: pc.localDescription.sdp };
}

async function serve(request, response) {
  const url = new URL(request.url, 'http://localhost');
  const [, , what, id] = url.pathname.split('/');
  if (request.method === 'GET' && url.pathname === '/healthz') {
    response.end();
  } else if (request.method === 'POST' && what === 'rooms') {
    let offer = '';
    for await (const chunk of request.setEncoding('utf8')) {
      offer += chunk;
    }
    const { session, answer } = await join(url, offer);
    response.writeHead(201, { 'Content-Type': 'application/sdp', Location: `/v1/sessions/${session}` });
    response.end(answer);
  } else if (request.method === 'DELETE' && what === 'sessions' && sessions.has(id)) {
    await sessions.get(id).close();
    response.end();
  } else {
    response.writeHead(404).end();
  }
}

// The driver reuses its connections whenever it comes back.
const server = createServer({ keepAliveTimeout: 0 }, (request, response) => {
  serve(request, response).catch((error) => {
    console.error(error);
    response.writeHead(500).end();
  });
});
const [host, port] = process.env.BENCH_LISTEN.split(':');
server.listen(Number(port), host);
