// The parts around the stream: backoff, problems, state, ICE links, following.
import test from 'node:test';
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { Backoff, retryAfter, wait } from './backoff.js';
import { follow } from './events.js';
import { loudness } from './microphone.js';
import { fromResponse, microphoneError } from './problem.js';
import { Status, after, randomParticipant, sessionGone, stateOf, validRoom } from './state.js';
import { iceFragment, newServers, parseIceLinks, withICE, withServers } from './ice.js';
import { send, sessionURL } from './whip.js';

test('backoff doubles up to its maximum, jittered, and honours the server', () => {
  const low = new Backoff({ min: 100, max: 1000, random: () => 0 });
  assert.deepEqual([1, 2, 3, 4, 5, 6].map(() => low.next()), [50, 100, 200, 400, 500, 500]);
  low.reset();
  assert.equal(low.next(), 50);
  assert.equal(low.next(7000), 7000);
  const high = new Backoff({ min: 100, random: () => 0.999 });
  assert.equal(high.next(), 100);
});

test('Retry-After is seconds or a date', () => {
  assert.equal(retryAfter('3'), 3000);
  assert.equal(retryAfter('Thu, 01 Jan 1970 00:00:09 GMT', 2000), 7000);
  assert.equal(retryAfter('Thu, 01 Jan 1970 00:00:01 GMT', 2000), 0);
  assert.equal(retryAfter('soon'), 0);
  assert.equal(retryAfter(null), 0);
});

test('a wait ends early when woken, and rejects when aborted', async () => {
  const wake = new EventTarget();
  const woken = wait(60_000, new AbortController().signal, wake);
  wake.dispatchEvent(new Event('wake'));
  await woken;
  const abort = new AbortController();
  const aborted = wait(60_000, abort.signal);
  abort.abort(new Error('left'));
  await assert.rejects(aborted, /left/);
});

test('a problem document’s detail is what the user reads', async () => {
  const body = JSON.stringify({ type: 'urn:x', title: 'Full', detail: 'This room is full.' });
  const headers = { 'Content-Type': 'application/problem+json', 'Retry-After': '5' };
  const err = await fromResponse(new Response(body, { status: 503, headers }));
  assert.deepEqual([err.code, err.message, err.retry, err.retryAfter, err.type], ['unavailable', 'This room is full.', true, 5000, 'urn:x']);
});

test('what a server refuses is not tried again, with words of our own if it has none', async () => {
  for (const [status, code] of [[400, 'refused'], [401, 'unauthorized'], [403, 'forbidden'], [404, 'refused']]) {
    const err = await fromResponse(new Response('nope', { status }));
    assert.equal(err.code, code);
    assert.equal(err.retry, false);
    assert.match(err.message, /\w+\.$/);
  }
});

test('what getUserMedia throws has a code and a sentence', () => {
  for (const [name, message, code] of [
    ['NotAllowedError', '', 'permission-denied'],
    ['NotAllowedError', 'Permission denied by system', 'permission-denied'],
    ['NotFoundError', '', 'no-microphone'],
    ['OverconstrainedError', '', 'no-microphone'],
    ['NotReadableError', '', 'microphone-busy'],
    ['TypeError', '', 'microphone-failed'],
  ]) {
    const err = microphoneError({ name, message });
    assert.equal(err.code, code);
    assert.match(err.message, /\.$/);
  }
});

test('the state is that of the side that is worst off', () => {
  for (const [wanted, audio, captions, want] of [
    ['nothing', 'off', 'off', 'idle'],
    ['join', 'connecting', 'off', 'connecting'],
    ['join', 'on', 'connecting', 'connecting'],
    ['join', 'on', 'on', 'connected'],
    ['join', 'on', 'reconnecting', 'reconnecting'],
    ['join', 'reconnecting', 'on', 'reconnecting'],
    ['join', 'on', 'failed', 'connected'],
    ['listen', 'off', 'on', 'connected'],
    ['listen', 'off', 'reconnecting', 'reconnecting'],
    ['left', 'off', 'on', 'left'],
    ['failed', 'off', 'off', 'failed'],
  ]) {
    assert.equal(stateOf(wanted, audio, captions), want, `${wanted} ${audio} ${captions}`);
  }
});

test('an outage is news once, though both sides see it and try again and again', () => {
  const s = new Status();
  const gone = { message: 'Gone.', code: 'no-server' };
  s.want('join');
  s.set('audio', 'on');
  s.set('captions', 'on');
  assert.equal(s.down('captions', gone, 500), true);
  assert.equal(s.down('captions', gone, 4000), false);
  assert.equal(s.down('audio', gone, 500), false);
  assert.equal(s.detail.state, 'reconnecting');
  assert.equal(s.detail.reason, 'Gone. Trying again.');
  s.set('audio', 'on');
  assert.equal(s.detail.reason, 'Gone. Trying again in 4 seconds.');
  s.set('captions', 'on');
  assert.deepEqual([s.detail.state, s.detail.reason], ['connected', '']);
  assert.equal(s.down('captions', gone, 500), true);
  s.finish('left');
  assert.deepEqual([s.detail.state, s.detail.reason], ['left', '']);
});

test('a meeting keeps its order as news of it come in', () => {
  let m = { id: 'M', state: 'live', participants: [{ id: 'ada', name: 'Ada' }], tracks: [], coverage: {} };
  m = after(m, 'joined', { meeting: 'M', participant: { id: 'grace', name: 'Grace', left_at: null } });
  m = after(m, 'left', { meeting: 'M', participant: { id: 'ada', name: 'Ada', left_at: 'now' } });
  m = after(m, 'coverage', { meeting: 'M', coverage: { duration_ms: 5 }, tracks: [{ id: 'T', participant: 'ada', state: 'live' }] });
  assert.deepEqual(m.participants.map((p) => [p.id, p.left_at]), [['ada', 'now'], ['grace', null]]);
  assert.equal(m.coverage.duration_ms, 5);
  const told = (transcription) => after(m, 'coverage', { meeting: 'M', coverage: {}, tracks: [{ id: 'T', state: 'live', ...transcription }] });
  m = told({ transcription: { state: 'retrying' } });
  assert.equal(m.tracks[0].transcription.state, 'retrying');
  m = told({});
  assert.deepEqual([m.tracks[0].transcription, m.tracks[0].participant], [undefined, 'ada'], 'what is not said any more is not so');
  assert.equal(sessionGone(m, 'ada'), false);
  assert.equal(sessionGone(m, 'grace'), true);
  assert.equal(sessionGone(null, 'ada'), true);
  assert.equal(after(m, 'ended', { meeting: 'M', state: 'ended' }).state, 'ended');
  assert.equal(after(m, 'ended', { meeting: 'other', state: 'ended' }), m);
});

test('rooms and participants', () => {
  for (const ok of ['a', '0', 'daily', 'team_1-x', 'a'.repeat(64)]) assert.ok(validRoom(ok), ok);
  for (const no of ['', '-a', '_a', 'A', 'ä', 'a b', 'a/b', 'a'.repeat(65)]) assert.ok(!validRoom(no), no);
  assert.match(randomParticipant(), /^[0-9a-f]{32}$/);
});

test('ICE servers with credentials that change', () => {
  const stun = { urls: 'stun:stun.example.net' };
  const turn = (username) => ({ urls: 'turn:turn.example.net', username, credential: 'x' });
  assert.deepEqual(newServers([stun, turn('1')], []), [stun, turn('1')]);
  assert.deepEqual(newServers([stun, turn('1')], [turn('1'), stun]), []);
  assert.deepEqual(newServers([stun, turn('2')], [turn('1'), stun]), [turn('2')]);
  assert.deepEqual(withServers([stun, turn('1')], [turn('2')]), [stun, turn('2')]);
  assert.deepEqual(withServers([], []), []);
});

test('ICE servers in Link headers', () => {
  const header =
    '<stun:stun.example.net>; rel="ice-server", </x>; rel=next, <turn:turn.example.net?transport=udp>; rel="ice-server"; username="u,1"; credential="p\\"w"; credential-type="password"';
  assert.deepEqual(parseIceLinks(header), [
    { urls: 'stun:stun.example.net' },
    { urls: 'turn:turn.example.net?transport=udp', username: 'u,1', credential: 'p"w' },
  ]);
  assert.deepEqual(parseIceLinks('<turn:turn.example.net>; rel="ice-server"'), []);
  assert.deepEqual(parseIceLinks(null), []);
  assert.deepEqual(parseIceLinks('garbage'), []);
});

test('an ICE restart’s fragment, and the answer with what the server says to it', () => {
  const offer = 'v=0\r\na=group:BUNDLE mic\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:new1\r\na=ice-pwd:secret\r\na=ice-options:trickle\r\na=mid:mic\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=rtcp-mux\r\n';
  const fragment = 'm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:new1\r\na=ice-pwd:secret\r\na=mid:mic\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=end-of-candidates\r\n';
  assert.equal(iceFragment(offer), fragment);
  const answer = 'v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:old\r\na=ice-pwd:old\r\na=fmtp:111 usedtx=1\r\na=candidate:2 1 udp 1 192.0.2.2 9 typ host\r\na=end-of-candidates\r\n';
  assert.equal(
    withICE(answer, fragment),
    'v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=fmtp:111 usedtx=1\r\na=ice-ufrag:new1\r\na=ice-pwd:secret\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=end-of-candidates\r\n',
  );
});

test('a session’s URL is relative, absolute, or of the endpoint’s scheme', () => {
  assert.equal(sessionURL('/v1/sessions/7', 'http://a:1/v1/rooms/x/whip?name=A'), 'http://a:1/v1/sessions/7');
  assert.equal(sessionURL('http://b/v1/sessions/7', 'http://a/whip'), 'http://b/v1/sessions/7');
  assert.equal(sessionURL('http://a/v1/sessions/7', 'https://a/whip'), 'https://a/v1/sessions/7');
});

test('loudness is logarithmic between 0 and 1', () => {
  assert.equal(loudness(0), 0);
  assert.equal(loudness(NaN), 0);
  assert.equal(loudness(1), 1);
  assert.equal(loudness(2), 1);
  assert.ok(Math.abs(loudness(0.001)) < 1e-9);
  assert.ok(Math.abs(loudness(0.0316) - 0.5) < 0.01);
});

// A server whose answers are scripted, one handler per request.
async function served(t, ...handlers) {
  const seen = [];
  const server = createServer((req, res) => {
    seen.push(req.headers);
    handlers[Math.min(seen.length, handlers.length) - 1](req, res);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}/`, seen };
}

const stream = (text, hold) => (_, res) => {
  res.writeHead(200, { 'Content-Type': 'text/event-stream' });
  res.write(text);
  if (!hold) res.end();
};

function options(url, signal, more) {
  return {
    url,
    signal,
    headers: async () => ({ Authorization: 'Bearer x' }),
    onEvent() {},
    onOpen() {},
    onDown() {},
    backoff: new Backoff({ min: 1, max: 5 }),
    ...more,
  };
}

test('a stream that breaks goes on after the last event', async (t) => {
  const { url, seen } = await served(t, stream('event: a\nid: 1\ndata: 1\n\nevent: b\ndata: 2\n\nid: 9\ndata: half'), stream('event: c\nid: 2\ndata: 3\n\n', true));
  const abort = new AbortController();
  const got = [];
  await follow(
    options(url, abort.signal, {
      onEvent(name, data) {
        got.push([name, data]);
        if (name === 'c') abort.abort();
      },
    }),
  );
  assert.deepEqual(got, [['a', 1], ['b', 2], ['c', 3]]);
  assert.equal(seen[0]['last-event-id'], undefined);
  assert.equal(seen[1]['last-event-id'], '1');
  assert.equal(seen[1].authorization, 'Bearer x');
});

test('an offer follows a 307, and a busy server says when to try again', async (t) => {
  const got = [];
  const { url } = await served(
    t,
    (_, res) => res.writeHead(307, { Location: '/elsewhere' }).end(),
    async (req, res) => {
      let body = '';
      for await (const chunk of req) body += chunk;
      got.push(req.method, req.url, req.headers['content-type'], body);
      res.writeHead(201, { Location: '/v1/sessions/7' }).end('answer');
    },
    (_, res) => res.writeHead(503, { 'Retry-After': '7' }).end(),
  );
  const { signal } = new AbortController();
  const res = await send('POST', url, 'application/sdp', 'offer', {}, signal);
  assert.deepEqual(got, ['POST', '/elsewhere', 'application/sdp', 'offer']);
  assert.equal(sessionURL(res.headers.get('Location'), res.url), `${url}v1/sessions/7`);
  await assert.rejects(send('POST', url, 'application/sdp', 'offer', {}, signal), { code: 'unavailable', retry: true, retryAfter: 7000 });
});

test('a stream that falls silent is dead', async (t) => {
  const { url } = await served(t, stream(': hello\n', true), stream('event: c\ndata: 3\n\n', true));
  const abort = new AbortController();
  let downs = 0;
  await follow(options(url, abort.signal, { silence: 100, onEvent: () => abort.abort(), onDown: () => downs++ }));
  assert.equal(downs, 1);
});

test('a stream waits while the server is busy, and stops when it is refused', async (t) => {
  const answer = (status) => (_, res) => {
    res.writeHead(status, { 'Content-Type': 'application/problem+json' });
    res.end('{"detail":"Because."}');
  };
  const { url, seen } = await served(t, answer(503), answer(429), answer(403));
  const waits = [];
  const following = follow(options(url, new AbortController().signal, { onDown: (err) => waits.push(err.status) }));
  await assert.rejects(following, { code: 'forbidden', message: 'Because.' });
  assert.deepEqual(waits, [503, 429]);
  assert.equal(seen.length, 3);
});

test('a page that is no event stream is said to be none', async (t) => {
  const { url } = await served(t, (_, res) => res.end('<html>'));
  await assert.rejects(follow(options(url, new AbortController().signal)), { code: 'not-verbatim' });
});

test('in another network a stream is opened anew at once, after the last event and without a word', async (t) => {
  const { url, seen } = await served(t, stream('event: a\nid: 1\ndata: 1\n\n', true), stream('event: b\ndata: 2\n\n', true));
  const abort = new AbortController();
  const wake = new EventTarget();
  const told = [];
  await follow(
    options(url, abort.signal, {
      wake,
      onOpen: () => told.push('open'),
      onDown: () => told.push('down'),
      onEvent(name) {
        told.push(name);
        if (name === 'a') wake.dispatchEvent(new Event('wake'));
        else abort.abort();
      },
    }),
  );
  assert.deepEqual(told, ['open', 'a', 'open', 'b']);
  assert.equal(seen[1]['last-event-id'], '1');
});

test('a server that never answers an offer is tried again', async (t) => {
  const { url } = await served(t, () => {});
  const { signal } = new AbortController();
  await assert.rejects(send('POST', url, 'application/sdp', 'offer', {}, signal, 20), { code: 'no-server', retry: true });
});
