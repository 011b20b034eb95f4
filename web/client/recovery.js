/** Keeps a connection, by restarting ICE, for as long as there is hope. */

import { wait } from './backoff.js';

// ICE often recovers by itself (a hiccup of the Wi-Fi). If not, it is restarted,
// which finds the way from another network in the same session; what does not
// help by recoverMs is lost. The server gives up after 20 s of silence.
// A restart may take checkMs to find a way.
const times = { restartAfterMs: 1_000, checkMs: 3_000, recoverMs: 10_000 };

/**
 * Resolves when the connection is gone: closed by the server, not to be had back,
 * or of a session that the server does not know any more. Never after over.
 *
 * @param {object} o
 * @param {RTCPeerConnection} o.pc connected
 * @param {RTCRtpSender} o.sender
 * @param {(signal: AbortSignal) => Promise<void>} o.restart restarts ICE
 * @param {EventTarget} o.wake an event "wake" says that the network may be another
 * @param {AbortController} o.over aborted with the session
 * @param {(steady: boolean) => void} o.onSteady ICE lost touch (false), or found it again
 * @param {typeof times} [o.within] for tests
 * @returns {Promise<void>}
 */
export function lost({ pc, sender, restart, wake, over, onSteady, within = times }) {
  const { signal } = over;
  const stir = new EventTarget(); // ends a wait of the recovery
  const state = { wanted: false }; // a restart, whether ICE has noticed or not
  let recovering = false;
  return new Promise((/** @type {(value: void) => void} */ resolve) => {
    const gone = () => {
      if (signal.aborted) return;
      over.abort();
      resolve();
    };
    const recover = async (/** @type {number} */ ms) => {
      if (recovering) return;
      recovering = true;
      const ok = await recovered({ pc, restart, state, stir, signal, ms, within });
      recovering = false;
      if (!ok) gone();
      else if (!signal.aborted && pc.connectionState !== 'connected') look();
    };
    const look = () => {
      // A server that ends a session says so by closing DTLS, which is faster
      // than waiting for ICE to give up.
      if ([pc.connectionState, sender.transport?.state].some((s) => s === 'failed' || s === 'closed')) return gone();
      const steady = pc.connectionState === 'connected';
      if (steady) stir.dispatchEvent(new Event('wake'));
      else recover(within.restartAfterMs);
      onSteady(steady);
    };
    pc.addEventListener('connectionstatechange', look, { signal });
    sender.transport?.addEventListener('statechange', look, { signal });
    // The way that ICE has found may be of the old network. It would take
    // seconds to notice; a restart that was not needed costs nothing.
    wake.addEventListener(
      'wake',
      () => {
        state.wanted = true;
        stir.dispatchEvent(new Event('wake'));
        recover(0);
      },
      { signal },
    );
    // Between the wait for "connected" and here it may already have changed.
    if (pc.connectionState !== 'connected') look();
  });
}

/**
 * Restarts ICE, in ms at first, until there is a connection (true), or the server
 * refuses or recoverMs are over without one (false). A restart that has begun is not broken
 * off when the connection comes back: the server may have taken it already.
 *
 * @param {object} o
 * @param {RTCPeerConnection} o.pc
 * @param {(signal: AbortSignal) => Promise<void>} o.restart
 * @param {{wanted: boolean}} o.state
 * @param {EventTarget} o.stir
 * @param {AbortSignal} o.signal
 * @param {number} o.ms
 * @param {typeof times} o.within
 * @returns {Promise<boolean>}
 */
async function recovered({ pc, restart, state, stir, signal, ms, within }) {
  const stop = AbortSignal.any([signal, AbortSignal.timeout(within.recoverMs)]);
  try {
    for (;;) {
      await wait(ms, stop, stir);
      if (pc.connectionState === 'connected' && !state.wanted) return true;
      const { wanted } = state;
      state.wanted = false;
      ms = await restart(stop).then(
        () => within.checkMs,
        (err) => {
          if (!err.retry) throw err;
          state.wanted ||= wanted;
          return Math.max(within.restartAfterMs, err.retryAfter);
        },
      );
    }
  } catch (err) {
    if (signal.aborted) return true;
    state.wanted = false;
    // Refused or too late, what works is kept, unless the server does not know it.
    return pc.connectionState === 'connected' && /** @type {any} */ (err).status !== 404;
  }
}
