/** The room's event stream, read by fetch and kept up through failures. */

import { Backoff, wait } from './backoff.js';
import { SSEParser } from './sse.js';
import { VerbatimError, connectionLost, fromResponse, noServer } from './problem.js';

const steadyMs = 5_000;

/**
 * Follows a stream of Server-Sent Events until signal aborts (returns) or the
 * server refuses it for good (throws a VerbatimError). Everything else is tried
 * again, with the id of the last event, so that none is missing.
 *
 * @param {object} o
 * @param {string} o.url
 * @param {() => Promise<Record<string,string>>} o.headers called for each attempt
 * @param {AbortSignal} o.signal
 * @param {EventTarget} [o.wake] an event "wake" says that the network may be another:
 *   it ends a wait between attempts, and a stream is opened anew without a word,
 *   since that of the old network only falls silent
 * @param {(name: string, data: any) => void} o.onEvent
 * @param {() => void} o.onOpen
 * @param {(err: VerbatimError, waitMs: number) => void} o.onDown
 * @param {number} [o.silence] ms without a byte after which the connection is
 *   dead: the server sends a comment every 15 s
 * @param {typeof fetch} [o.fetch]
 * @param {Backoff} [o.backoff]
 */
export async function follow(o) {
  const backoff = o.backoff ?? new Backoff();
  const position = { id: '', retry: 0 };
  while (!o.signal.aborted) {
    let err;
    const since = Date.now();
    let opened = false;
    const onOpen = () => {
      opened = true;
      o.onOpen();
    };
    try {
      if ((await read({ ...o, onOpen }, position)) === 'woken') continue;
      err = connectionLost(); // a stream has no end of its own
    } catch (e) {
      if (o.signal.aborted) return;
      err = e instanceof VerbatimError ? e : opened ? connectionLost(e) : noServer(e, o.url);
      if (!err.retry) throw err;
    }
    if (o.signal.aborted) return;
    // A stream that opens and breaks at once is no success.
    if (Date.now() - since > steadyMs) backoff.reset();
    const ms = backoff.next(Math.max(err.retryAfter, position.retry));
    o.onDown(err, ms);
    await wait(ms, o.signal, o.wake).catch(() => {});
  }
}

/**
 * One connection: resolves at the stream's end or when an open one was woken,
 * throws when it breaks.
 */
async function read(o, position) {
  const dead = new AbortController();
  const signal = AbortSignal.any([o.signal, dead.signal]);
  const silence = o.silence ?? 45_000;
  let timer = setTimeout(() => dead.abort(), silence);
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => dead.abort(), silence);
  };
  let open = false;
  let woken = false;
  const wake = () => {
    woken = open;
    if (open) dead.abort();
  };
  o.wake?.addEventListener('wake', wake, { signal });
  try {
    const headers = { Accept: 'text/event-stream', ...(await o.headers()) };
    if (position.id) headers['Last-Event-ID'] = position.id;
    const res = await (o.fetch ?? fetch)(o.url, { headers, signal, cache: 'no-store' });
    if (!res.ok) throw await fromResponse(res);
    if (!/^text\/event-stream\b/.test(res.headers.get('Content-Type') ?? '')) {
      await res.body?.cancel();
      throw new VerbatimError('not-verbatim');
    }
    o.onOpen();
    open = true;

    const parser = new SSEParser(({ event, data }) => o.onEvent(event, JSON.parse(data)));
    parser.lastEventId = position.id;
    const reader = res.body.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return 'ended';
      heard();
      parser.push(decoder.decode(value, { stream: true }));
      position.id = parser.lastEventId;
      position.retry = parser.retry ?? position.retry;
    }
  } catch (err) {
    if (woken && !o.signal.aborted) return 'woken';
    throw err;
  } finally {
    clearTimeout(timer);
    dead.abort(); // whatever happened, leave no request behind
  }
}
