/** What can go wrong, as a stable code and a sentence that says what to do. */

import { retryAfter } from './backoff.js';

const sentences = {
  'bad-room':
    'A room’s name is made of small letters, digits, “-” and “_”, begins with a letter or a digit, and has at most 64 characters.',
  'insecure-context':
    'Browsers give the microphone to secure pages only. Open this page over https://, or on the computer that the server runs on as http://localhost.',
  'no-webrtc': 'This browser cannot send audio (it has no WebRTC). Use a current Chrome, Edge, Firefox or Safari.',
  'no-microphone': 'No microphone was found. Plug one in, then try again.',
  'permission-denied':
    'This page may not use the microphone. Allow it next to the page’s address, then try again.',
  'permission-denied-system':
    'The operating system does not let this browser use the microphone. Allow it in the privacy settings, then try again.',
  'microphone-busy': 'The microphone is in use by another program. Close that program or choose another microphone, then try again.',
  'microphone-failed': 'The microphone could not be opened. Choose another one, or plug it in again.',
  'microphone-lost': 'The microphone went away. Plug it in again or choose another one.',
  'no-server': 'The server does not answer. Check that it is running and that this computer is online.',
  'connection-lost': 'The connection was lost.',
  'not-verbatim': 'There is an answer at this address, but not from a Verbatim server. Check the address.',
  'media-blocked':
    'The server answers, but no audio gets through to it. Its media port (UDP) seems to be closed by a firewall.',
  unavailable: 'The server cannot take this up just now.',
  'no-token': 'There is no token for the server just now.',
  'no-meeting': 'There has been no meeting in the room yet.',
  unauthorized: 'The server asks for a token, and this one is missing or not valid.',
  forbidden: 'The token does not allow this.',
  refused: 'The server refused this.',
};

/**
 * @typedef {keyof typeof sentences} Sentence
 * @typedef {Exclude<Sentence, 'permission-denied-system'>} Code
 */

/** An error with a stable code and a sentence for people. */
export class VerbatimError extends Error {
  /**
   * @param {Sentence} code
   * @param {object} [more]
   * @param {string} [more.message] what the server said, in place of our sentence
   * @param {number} [more.status] the HTTP status
   * @param {boolean} [more.retry] whether trying again may help
   * @param {number} [more.retryAfter] ms that the server asks to wait
   * @param {string} [more.type] the stable type of the server's problem document
   * @param {unknown} [more.cause]
   */
  constructor(code, more = {}) {
    super(more.message || sentences[code], { cause: more.cause });
    this.name = 'VerbatimError';
    /** @type {Code} */
    this.code = code === 'permission-denied-system' ? 'permission-denied' : code;
    this.status = more.status;
    this.retry = more.retry ?? false;
    this.retryAfter = more.retryAfter ?? 0;
    this.type = more.type;
  }
}

/**
 * The error of an HTTP response, with the detail of its problem document
 * (RFC 9457). Server errors and "too many requests" may pass; everything else
 * that the server refuses it will refuse again.
 * @param {Response} res
 * @returns {Promise<VerbatimError>}
 */
export async function fromResponse(res) {
  /** @type {{detail?: unknown, title?: unknown, type?: string}} */
  let problem = {};
  if (/\bjson\b/.test(res.headers.get('Content-Type') ?? '')) {
    problem = (await res.json().catch(() => null)) ?? {};
  } else {
    await res.body?.cancel().catch(() => {});
  }
  const retry = res.status >= 500 || res.status === 429 || res.status === 408;
  /** @type {Code} */
  let code = retry ? 'unavailable' : 'refused';
  if (res.status === 401) code = 'unauthorized';
  if (res.status === 403) code = 'forbidden';
  const said = problem.detail || problem.title;
  return new VerbatimError(code, {
    message: said ? String(said) : '',
    status: res.status,
    type: problem.type,
    retry,
    retryAfter: retry ? retryAfter(res.headers.get('Retry-After')) : 0,
  });
}

/**
 * The error of a fetch that got no response at all. Browsers say no more than
 * "failed", on purpose, and so they do when a server does not answer pages of
 * another origin.
 * @param {unknown} cause
 * @param {string|URL} url what was asked for
 */
export function noServer(cause, url) {
  const here = globalThis.location?.origin;
  const message =
    here && new URL(url, here).origin !== here
      ? `The server does not answer. Check that it is running, that this computer is online, and that it answers pages of ${here} (serve --cors-origin ${here}).`
      : '';
  return new VerbatimError('no-server', { retry: true, cause, message });
}

/**
 * A connection that was there broke off.
 * @param {unknown} [cause]
 */
export function connectionLost(cause) {
  return new VerbatimError('connection-lost', { retry: true, cause });
}

/**
 * The error of getUserMedia.
 * @param {any} err
 */
export function microphoneError(err) {
  if (err instanceof VerbatimError) return err;
  return new VerbatimError(microphoneCode(err), { cause: err });
}

/** @returns {Sentence} */
function microphoneCode(err) {
  switch (err?.name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return /system/i.test(err.message) ? 'permission-denied-system' : 'permission-denied';
    case 'NotFoundError':
    case 'OverconstrainedError': // the device that was chosen is gone
      return 'no-microphone';
    case 'NotReadableError':
    case 'AbortError':
      return 'microphone-busy';
    default:
      return 'microphone-failed';
  }
}
