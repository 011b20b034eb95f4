/** Sending one audio track by WHIP (RFC 9725). */

import { wait } from './backoff.js';
import { iceFragment, parseIceLinks, withICE } from './ice.js';
import { VerbatimError, fromResponse, noServer } from './problem.js';

// Candidates of the machine's own interfaces are there in milliseconds; what
// takes longer is a STUN or TURN server that does not answer.
const gatherMs = 2_000;
const connectMs = 15_000;
// After this the ICE servers that came with the answer are tried: behind a
// firewall only a TURN server helps.
const relayAfterMs = 5_000;
// ICE often recovers by itself (a hiccup of the Wi-Fi). If not, it is restarted,
// which finds the way from another network in the same session; what does not
// help by recoverMs is lost. The server gives up after 20 s of silence.
const restartAfterMs = 1_000;
const recoverMs = 10_000;
// How long a restart may take to find a way.
const checkMs = 3_000;

/**
 * @typedef {object} Session
 * @property {RTCRtpSender} sender
 * @property {RTCPeerConnection} pc
 * @property {string} url what DELETE ends
 * @property {string} meeting the meeting's id, "" where the server gave none
 * @property {Promise<void>} lost resolves when the connection is gone, unless this side closes it
 */

/**
 * Opens a session: one offer with all candidates, one answer, connected.
 *
 * @param {object} o
 * @param {string} o.endpoint
 * @param {() => Promise<Record<string,string>>} o.headers called for each request
 * @param {MediaStreamTrack} o.track
 * @param {AbortSignal} o.signal
 * @param {RTCIceServer[]} [o.iceServers]
 * @param {(servers: RTCIceServer[]) => void} o.onIceServers what the server names, for the next time
 * @param {(steady: boolean) => void} o.onSteady ICE lost touch (false), or found it again
 * @returns {Promise<Session>}
 */
export async function publish({ endpoint, headers, track, signal, iceServers = [], onIceServers, onSteady }) {
  if (typeof RTCPeerConnection === 'undefined') throw new VerbatimError('no-webrtc');
  const pc = new RTCPeerConnection({ iceServers });
  let url = '';
  try {
    const { sender } = pc.addTransceiver(track, { direction: 'sendonly' });
    await pc.setLocalDescription(await pc.createOffer());
    await gathered(pc, signal);

    const res = await send('POST', endpoint, 'application/sdp', pc.localDescription.sdp, await headers(), signal);
    const location = res.headers.get('Location');
    if (res.status !== 201 || !location) throw new VerbatimError('not-verbatim', { status: res.status });
    url = sessionURL(location, res.url);
    let answer = await res.text();
    await pc.setRemoteDescription({ type: 'answer', sdp: answer });

    const named = parseIceLinks(res.headers.get('Link'));
    const more = named.filter((s) => !iceServers.some((i) => i.urls === s.urls));
    onIceServers(named);
    if (more.length) pc.setConfiguration({ ...pc.getConfiguration(), iceServers: [...iceServers, ...more] });

    const restart = async (stop) => {
      answer = await restartICE(pc, url, answer, await headers(), stop);
    };
    if (more.length && !(await settled(pc, signal, relayAfterMs))) await restart(signal);
    await connected(pc, signal);
    return {
      sender,
      pc,
      url,
      meeting: res.headers.get('Verbatim-Meeting') ?? '',
      lost: lost(pc, sender, restart, onSteady),
    };
  } catch (err) {
    pc.close();
    if (url) end(url, await headers());
    throw err;
  }
}

/**
 * Sends SDP; an answer that is no success is thrown. Fetch follows redirects:
 * a 307 with method and body (RFC 9725, section 4.5).
 */
export async function send(method, url, type, body, headers, signal) {
  const res = await fetch(url, { method, headers: { 'Content-Type': type, ...headers }, body, signal }).catch((err) => {
    throw signal.aborted ? err : noServer(err);
  });
  if (!res.ok) throw await fromResponse(res);
  return res;
}

/**
 * Begins ICE anew in the session (RFC 9725, section 4.3.3): its audio goes on.
 * @returns {Promise<string>} the answer as it is now
 */
async function restartICE(pc, url, answer, headers, signal) {
  await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
  try {
    await gathered(pc, signal);
    const body = iceFragment(pc.localDescription.sdp);
    const res = await send('PATCH', url, 'application/trickle-ice-sdpfrag', body, { 'If-Match': '*', ...headers }, signal);
    const sdp = withICE(answer, await res.text());
    await pc.setRemoteDescription({ type: 'answer', sdp });
    return sdp;
  } catch (err) {
    if (pc.signalingState === 'have-local-offer') await pc.setLocalDescription({ type: 'rollback' });
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

/** Resolves true when it is clear within ms what becomes of the connection. */
function settled(pc, signal, ms) {
  return until(pc, 'connectionstatechange', signal, ms, () => ['connected', 'failed', 'closed'].includes(pc.connectionState));
}

async function connected(pc, signal) {
  await settled(pc, signal, connectMs);
  if (pc.connectionState !== 'connected') throw new VerbatimError('media-blocked', { retry: true });
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

function lost(pc, sender, restart, onSteady) {
  return new Promise((resolve) => {
    let recovering; // AbortController
    const look = () => {
      // A server that ends a session says so by closing DTLS, which is faster
      // than waiting for ICE to give up.
      const states = [pc.connectionState, sender.transport?.state];
      const over = states.some((s) => s === 'failed' || s === 'closed');
      const steady = pc.connectionState === 'connected';
      if (over || steady) recovering?.abort();
      if (over) return resolve();
      if (steady) recovering = undefined;
      else if (!recovering) {
        recovering = new AbortController();
        recover(restart, recovering).then((ok) => ok || resolve());
      }
      onSteady(steady);
    };
    pc.addEventListener('connectionstatechange', look);
    sender.transport?.addEventListener('statechange', look);
    // Between the wait for "connected" and here it may already have changed.
    if (pc.connectionState !== 'connected') look();
  });
}

/**
 * Restarts ICE until the connection is back, which aborts it, and true is
 * returned. False: it is not within recoverMs, or the server refuses.
 */
async function recover(restart, controller) {
  const { signal } = controller;
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    controller.abort();
  }, recoverMs);
  try {
    for (let ms = restartAfterMs; ; ) {
      await wait(ms, signal);
      ms = await restart(signal).then(
        () => checkMs,
        (err) => {
          late ||= !err.retry;
          if (late || signal.aborted) throw err;
          return restartAfterMs;
        },
      );
    }
  } catch {
    return !late;
  } finally {
    clearTimeout(timer);
  }
}
