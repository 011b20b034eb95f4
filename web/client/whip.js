/** Sending one audio track by WHIP (RFC 9725). */

import { VerbatimError, fromResponse, noServer } from './problem.js';

// Candidates of the machine's own interfaces are there in milliseconds; what
// takes longer is a STUN or TURN server that does not answer.
const gatherMs = 2_000;
const connectMs = 15_000;
// ICE often recovers by itself (a change of network, a hiccup of the Wi-Fi).
const disconnectedMs = 4_000;

/**
 * @typedef {object} Session
 * @property {RTCRtpSender} sender
 * @property {RTCPeerConnection} pc
 * @property {string} url what DELETE ends
 * @property {string} meeting the meeting's id, "" where the server gave none
 * @property {RTCIceServer[]} iceServers what the server offered, for the next time
 * @property {Promise<void>} lost resolves when the connection is gone, unless this side closes it
 */

/**
 * Opens a session: one offer with all candidates, one answer, connected.
 *
 * @param {object} o
 * @param {string} o.endpoint
 * @param {Record<string,string>} o.headers
 * @param {MediaStreamTrack} o.track
 * @param {AbortSignal} o.signal
 * @param {RTCIceServer[]} [o.iceServers]
 * @param {(steady: boolean) => void} o.onSteady ICE lost touch (false), or found it again
 * @returns {Promise<Session>}
 */
export async function publish({ endpoint, headers, track, signal, iceServers = [], onSteady }) {
  if (typeof RTCPeerConnection === 'undefined') throw new VerbatimError('no-webrtc');
  const pc = new RTCPeerConnection({ iceServers });
  let url = '';
  try {
    const { sender } = pc.addTransceiver(track, { direction: 'sendonly' });
    await pc.setLocalDescription(await pc.createOffer());
    await gathered(pc, signal);

    const res = await fetch(endpoint, {
      method: 'POST',
      headers: { 'Content-Type': 'application/sdp', ...headers },
      body: pc.localDescription.sdp,
      signal,
    }).catch((err) => {
      throw signal.aborted ? err : noServer(err);
    });
    if (!res.ok) throw await fromResponse(res);
    const location = res.headers.get('Location');
    if (res.status !== 201 || !location) throw new VerbatimError('not-verbatim', { status: res.status });
    url = sessionURL(location, res.url);
    await pc.setRemoteDescription({ type: 'answer', sdp: await res.text() });
    await connected(pc, sender, signal);
    return {
      sender,
      pc,
      url,
      meeting: res.headers.get('Verbatim-Meeting') ?? '',
      iceServers: parseIceLinks(res.headers.get('Link')),
      lost: lost(pc, sender, onSteady),
    };
  } catch (err) {
    pc.close();
    if (url) end(url, headers);
    throw err;
  }
}

/**
 * The session's URL, which may be relative. A server behind a proxy that ends
 * TLS may not know that it is called by https, and an https page may not call
 * http: then the scheme is the endpoint's.
 * @param {string} location
 * @param {string} endpoint
 */
export function sessionURL(location, endpoint) {
  const url = new URL(location, endpoint);
  if (endpoint.startsWith('https:') && url.protocol === 'http:') url.protocol = 'https:';
  return url.href;
}

/**
 * Ends a session. It outlives the page (keepalive), and failing is no matter:
 * the server then notices by itself.
 * @param {string} url
 * @param {Record<string,string>} headers
 */
export function end(url, headers) {
  return fetch(url, { method: 'DELETE', headers, keepalive: true }).catch(() => {});
}

function gathered(pc, signal) {
  return until(pc, 'icegatheringstatechange', signal, gatherMs, () => pc.iceGatheringState === 'complete');
}

async function connected(pc, sender, signal) {
  const ok = await until(pc, 'connectionstatechange', signal, connectMs, () =>
    ['connected', 'failed', 'closed'].includes(pc.connectionState),
  );
  if (!ok || pc.connectionState !== 'connected') throw new VerbatimError('media-blocked', { retry: true });
}

/** Resolves true when check holds, false when the time is over. */
function until(target, event, signal, ms, check) {
  return new Promise((resolve, reject) => {
    const finish = (settle, value) => {
      clearTimeout(timer);
      target.removeEventListener(event, look);
      signal.removeEventListener('abort', abort);
      settle(value);
    };
    const look = () => check() && finish(resolve, true);
    const abort = () => finish(reject, signal.reason);
    const timer = setTimeout(() => finish(resolve, false), ms);
    target.addEventListener(event, look);
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    else look();
  });
}

function lost(pc, sender, onSteady) {
  return new Promise((resolve) => {
    let timer;
    const look = () => {
      clearTimeout(timer);
      // A server that ends a session says so by closing DTLS, which is faster
      // than waiting for ICE to give up.
      const states = [pc.connectionState, sender.transport?.state];
      if (states.some((s) => s === 'failed' || s === 'closed')) return resolve();
      const steady = pc.connectionState === 'connected';
      if (!steady) timer = setTimeout(resolve, disconnectedMs);
      onSteady(steady);
    };
    pc.addEventListener('connectionstatechange', look);
    sender.transport?.addEventListener('statechange', look);
    // Between the wait for "connected" and here it may already have changed.
    if (pc.connectionState !== 'connected') look();
  });
}

/**
 * The ICE servers in a Link header (RFC 9725, section 4.6). Fetch joins several
 * Link headers with commas.
 * @param {string|null} header
 * @returns {RTCIceServer[]}
 */
export function parseIceLinks(header) {
  const servers = [];
  for (const [, url, rest] of (header ?? '').matchAll(/<([^>]*)>((?:\s*;\s*[\w*-]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^",;\s]+))?)*)/g)) {
    const params = {};
    for (const [, key, quoted, plain] of rest.matchAll(/;\s*([\w*-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^",;\s]+)))?/g)) {
      params[key.toLowerCase()] = quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '';
    }
    if (params.rel !== 'ice-server' || !/^(stun|turn)s?:/.test(url)) continue;
    const server = { urls: url };
    if (params.username !== undefined) server.username = params.username;
    if (params.credential !== undefined) server.credential = params.credential;
    servers.push(server);
  }
  return servers;
}
