/**
 * Sends one microphone over many connections at the same time, from one
 * Chromium: `make netem` runs it. Its argument is JSON: {wav, seconds, settle,
 * tries, sessions: [{url}]}; for each session it prints a line of JSON: {session,
 * meeting, attempts, error, stats}.
 */

import { chromium } from './browsers.js';

const { wav, seconds, settle, tries, sessions } = JSON.parse(process.argv[2]);
const connectMS = 8_000;
const sleep = (s) => new Promise((resolve) => setTimeout(resolve, s * 1000));

const browser = await chromium({ wav });
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => browser.close().finally(() => process.exit(1)));
}
try {
  const page = await browser.newPage();
  await page.setRequestInterception(true); // an empty page of an origin that may use the microphone
  page.on('request', (r) => r.respond({ contentType: 'text/html', body: '<!doctype html>' }));
  await page.goto('http://localhost/');
  await page.exposeFunction('exchange', exchange);
  await page.evaluate(prepare);
  const states = await Promise.all(sessions.map(({ url }) => page.evaluate(connect, url, tries, connectMS)));
  await page.evaluate(speak, true);
  await sleep(seconds);
  await page.evaluate(speak, false);
  await sleep(settle);
  await Promise.all(
    states.map(async (state, session) => {
      if (state.session) {
        state.stats = await page.evaluate(stats, state.id);
        const res = await fetch(state.session, { method: 'DELETE' });
        if (!res.ok) state.error ??= `leave: ${res.status} ${await res.text()}`;
      }
      console.log(JSON.stringify({ session, meeting: state.meeting, attempts: state.attempts, error: state.error, stats: state.stats }));
    }),
  );
} finally {
  await browser.close();
}

/** Brings an offer to the server, from outside of the page, where there is no CORS. */
async function exchange(url, offer) {
  const res = await fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: offer });
  const answer = await res.text();
  if (!res.ok) return { error: `${res.status} ${answer}` };
  return { answer, session: new URL(res.headers.get('Location'), url).href, meeting: res.headers.get('Verbatim-Meeting') };
}

// What follows runs in the page.

async function prepare() {
  const raw = { echoCancellation: false, autoGainControl: false, noiseSuppression: false };
  window.microphone = (await navigator.mediaDevices.getUserMedia({ audio: raw })).getAudioTracks()[0];
  window.connections = [];
}

async function connect(url, tries, timeout) {
  const state = { attempts: 0 };
  while (state.attempts++ < tries) {
    const pc = new RTCPeerConnection();
    pc.addTransceiver('audio', { direction: 'sendonly' }); // silent until all are connected
    await pc.setLocalDescription();
    while (pc.iceGatheringState !== 'complete') {
      await new Promise((resolve) => pc.addEventListener('icegatheringstatechange', resolve, { once: true }));
    }
    const { answer, error, session, meeting } = await window.exchange(url, pc.localDescription.sdp);
    if (error) return { ...state, error };
    await pc.setRemoteDescription({ type: 'answer', sdp: answer });
    const deadline = Date.now() + timeout;
    while (pc.connectionState !== 'connected' && pc.connectionState !== 'failed' && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    if (pc.connectionState === 'connected') {
      return { ...state, session, meeting, id: window.connections.push(pc) - 1 };
    }
    state.error = `connection ${pc.connectionState}`;
    pc.close();
  }
  return state;
}

async function speak(on) {
  await Promise.all(window.connections.map((pc) => pc.getSenders()[0].replaceTrack(on ? window.microphone : null)));
}

async function stats(id) {
  const kept = {};
  const wanted = ['packetsSent', 'retransmittedPacketsSent', 'bytesSent', 'nackCount', 'targetBitrate', 'packetsLost', 'fractionLost', 'roundTripTime'];
  for (const s of (await window.connections[id].getStats()).values()) {
    if (s.type !== 'outbound-rtp' && s.type !== 'remote-inbound-rtp') continue;
    for (const name of wanted) if (s[name] !== undefined) kept[name] = s[name];
  }
  return kept;
}
