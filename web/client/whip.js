/** Sending one audio track by WHIP (RFC 9725). */

import { iceFragment, newServers, parseIceLinks, withICE, withServers } from './ice.js';
import { VerbatimError, fromResponse, noServer } from './problem.js';
import { lost } from './recovery.js';

// Candidates of the machine's own interfaces are there in milliseconds; what
// takes longer is a STUN or TURN server that does not answer.
const gatherMs = 2_000;
const connectMs = 15_000;
// After this the ICE servers that came with the answer are tried: behind a
// firewall only a TURN server helps.
const relayAfterMs = 5_000;
// The least time that the server's credentials for TURN are good for: 10 minutes,
// less what a restart takes.
const credentialsMs = 8 * 60_000;
// How long an answer may take. A network that went away leaves requests behind
// that nobody answers.
const answerMs = 15_000;

/**
 * @typedef {object} Session
 * @property {RTCRtpSender} sender
 * @property {RTCPeerConnection} pc
 * @property {string} url what DELETE ends
 * @property {string} participant who joined, by the token if there is one, "" where the server did not say
 * @property {string} meeting the meeting's id, "" where the server gave none
 * @property {Promise<void>} lost resolves when the connection is gone, unless this side closes it
 * @property {() => void} close
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
 * @param {EventTarget} o.wake an event "wake" says that the network may be another
 * @param {(servers: RTCIceServer[]) => void} o.onIceServers what the server names, for the next time
 * @param {(steady: boolean) => void} o.onSteady ICE lost touch (false), or found it again
 * @returns {Promise<Session>}
 */
export async function publish({ endpoint, headers, track, signal, iceServers = [], wake, onIceServers, onSteady }) {
  if (typeof RTCPeerConnection === 'undefined') throw new VerbatimError('no-webrtc');
  const pc = new RTCPeerConnection({ iceServers });
  let url = '';
  try {
    const { sender } = pc.addTransceiver(track, { direction: 'sendonly' });
    await pc.setLocalDescription(await pc.createOffer());
    await gathered(pc, signal);

    const res = await send('POST', endpoint, 'application/sdp', description(pc), await headers(), signal);
    const location = res.headers.get('Location');
    if (res.status !== 201 || !location) throw new VerbatimError('not-verbatim', { status: res.status });
    url = sessionURL(location, res.url);
    let answer = await res.text();
    await pc.setRemoteDescription({ type: 'answer', sdp: answer });

    const named = parseIceLinks(res.headers.get('Link'));
    const more = newServers(named, iceServers);
    onIceServers(named);
    if (more.length) pc.setConfiguration({ ...pc.getConfiguration(), iceServers: withServers(iceServers, named) });

    let asked = Date.now();
    const restart = async (/** @type {AbortSignal} */ stop) => {
      if (Date.now() - asked > credentialsMs && named.some((s) => s.username)) {
        const now = await askServers(endpoint, await headers(), stop);
        if (now.length) pc.setConfiguration({ ...pc.getConfiguration(), iceServers: withServers(iceServers, now) });
        asked = Date.now();
      }
      answer = await restartICE(pc, url, answer, await headers(), stop);
    };
    if (more.length && !(await settled(pc, signal, relayAfterMs))) await restart(signal);
    await connected(pc, signal);
    const over = new AbortController();
    return {
      sender,
      pc,
      url,
      meeting: res.headers.get('Verbatim-Meeting') ?? '',
      participant: res.headers.get('Verbatim-Participant') ?? '',
      lost: lost({ pc, sender, restart, wake, over, onSteady }),
      close() {
        over.abort();
        pc.close();
      },
    };
  } catch (err) {
    pc.close();
    if (url) headers().then((h) => end(url, h), () => {});
    throw err;
  }
}

/**
 * Sends SDP; an answer that is no success is thrown. Fetch follows redirects:
 * a 307 with method and body (RFC 9725, section 4.5).
 * @param {string} method
 * @param {string} url
 * @param {string} type of the body
 * @param {string} body
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 * @param {number} [ms] after which nobody will answer
 */
export async function send(method, url, type, body, headers, signal, ms = answerMs) {
  const init = { method, headers: { 'Content-Type': type, ...headers }, body, signal: AbortSignal.any([signal, AbortSignal.timeout(ms)]) };
  const res = await fetch(url, init).catch((err) => {
    throw signal.aborted ? err : noServer(err, url);
  });
  if (!res.ok) throw await fromResponse(res);
  return res;
}

/**
 * The ICE servers as the server names them now (RFC 9725, section 4.6): none if it
 * does not answer, which is then noticed by what follows.
 * @param {string} endpoint
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 */
async function askServers(endpoint, headers, signal) {
  const init = { method: 'OPTIONS', headers, signal: AbortSignal.any([signal, AbortSignal.timeout(answerMs)]) };
  const res = await fetch(endpoint, init).catch(() => null);
  return parseIceLinks(res?.ok ? res.headers.get('Link') : null);
}

/**
 * Begins ICE anew in the session (RFC 9725, section 4.3.3): its audio goes on.
 * @param {RTCPeerConnection} pc
 * @param {string} url
 * @param {string} answer
 * @param {Record<string, string>} headers
 * @param {AbortSignal} signal
 * @returns {Promise<string>} the answer as it is now
 */
async function restartICE(pc, url, answer, headers, signal) {
  await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
  try {
    await gathered(pc, signal);
    const body = iceFragment(description(pc));
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

/** @param {RTCPeerConnection} pc */
function description(pc) {
  return pc.localDescription?.sdp ?? '';
}

/** @param {RTCPeerConnection} pc @param {AbortSignal} signal */
function gathered(pc, signal) {
  return until(pc, 'icegatheringstatechange', signal, gatherMs, () => pc.iceGatheringState === 'complete');
}

/**
 * Resolves true when it is clear within ms what becomes of the connection.
 * @param {RTCPeerConnection} pc
 * @param {AbortSignal} signal
 * @param {number} ms
 */
function settled(pc, signal, ms) {
  return until(pc, 'connectionstatechange', signal, ms, () => ['connected', 'failed', 'closed'].includes(pc.connectionState));
}

/** @param {RTCPeerConnection} pc @param {AbortSignal} signal */
async function connected(pc, signal) {
  await settled(pc, signal, connectMs);
  if (pc.connectionState !== 'connected') throw new VerbatimError('media-blocked', { retry: true });
}

/**
 * Resolves true when check holds, false when the time is over.
 * @param {EventTarget} target
 * @param {string} event after which to check
 * @param {AbortSignal} signal
 * @param {number} ms
 * @param {() => boolean} check
 * @returns {Promise<boolean>}
 */
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
