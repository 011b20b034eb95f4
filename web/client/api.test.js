import test from 'node:test';
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { Api, Verbatim } from './verbatim.js';

/** A server that answers with what it was asked, or as answer says. */
async function served(t, answer) {
  const asked = [];
  const server = createServer((req, res) => {
    asked.push(`${req.method} ${req.url} ${req.headers.authorization ?? '-'}`);
    if (answer) return answer(req, res);
    res.writeHead(200, { 'Content-Type': 'application/json' }).end('{"ok":true}');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, asked };
}

test('each method asks for what it says, below the base, with the token', async (t) => {
  const { url, asked } = await served(t);
  const api = new Api({ url: `${url}/under`, token: 't0k' });
  await api.meetings();
  await api.meetings({ room: 'daily', limit: 5, cursor: 'a/b' });
  await api.search('friday rel', { room: '' });
  await api.getMeeting('M');
  await api.transcript('M');
  const file = await api.transcriptFile('M', 'vtt');
  await api.stats('M');
  await api.roomStats('daily', { limit: 10 });
  await api.end('M');
  await api.erase('../x');
  assert.equal(await file.text(), '{"ok":true}');
  assert.deepEqual(asked, [
    'GET /under/v1/meetings Bearer t0k',
    'GET /under/v1/meetings?room=daily&limit=5&cursor=a%2Fb Bearer t0k',
    'GET /under/v1/search?q=friday+rel Bearer t0k',
    'GET /under/v1/meetings/M Bearer t0k',
    'GET /under/v1/meetings/M/transcript.json Bearer t0k',
    'GET /under/v1/meetings/M/transcript.vtt Bearer t0k',
    'GET /under/v1/meetings/M/stats Bearer t0k',
    'GET /under/v1/rooms/daily/stats?limit=10 Bearer t0k',
    'POST /under/v1/meetings/M/end Bearer t0k',
    'DELETE /under/v1/meetings/..%2Fx Bearer t0k',
  ]);
});

test('links are absolute, below the base', async (t) => {
  const path = '/v1/meetings/M/audio.flac';
  const { url, asked } = await served(t, (req, res) => {
    res.writeHead(200, { 'Content-Type': 'application/json' });
    res.end(JSON.stringify({ links: [{ path, url: `${path}?expires=1&signature=x`, expires_at: '2026-03-04T10:00:00Z' }] }));
  });
  const links = await new Api({ url: `${url}/under`, token: 't0k' }).links([path]);
  assert.deepEqual(links, [{ path, url: `${url}/under${path}?expires=1&signature=x`, expires_at: '2026-03-04T10:00:00Z' }]);
  assert.deepEqual(asked, ['POST /under/v1/links Bearer t0k']);
});

test('a token that is got anew each time, or not at all', async (t) => {
  const { url, asked } = await served(t);
  let n = 0;
  const api = new Api({ url, token: async () => `t${++n}` });
  await api.getMeeting('M');
  await api.getMeeting('M');
  assert.deepEqual(asked.map((a) => a.split(' ').at(-1)), ['t1', 't2']);
  assert.deepEqual(api.authorization(), { Authorization: 'Bearer t2' });
  const failing = new Api({ url, token: () => Promise.reject(new TypeError('offline')) });
  await assert.rejects(failing.getMeeting('M'), { name: 'VerbatimError', code: 'no-token', retry: true });
  assert.equal(asked.length, 2);
});

test('errors are VerbatimErrors, but for what the caller aborts', async (t) => {
  const { url } = await served(t, (req, res) => {
    if (req.url.endsWith('gone')) return res.writeHead(404, { 'Content-Type': 'application/problem+json' }).end('{"type":"urn:x","detail":"There is none."}');
    if (req.url.endsWith('html')) return res.writeHead(200).end('<html>');
    if (req.url.endsWith('cut')) return res.writeHead(200, { 'Content-Length': 100 }).write('{', () => res.destroy());
    // else never answered
  });
  const api = new Api({ url });
  await assert.rejects(api.getMeeting('gone'), { name: 'VerbatimError', code: 'refused', status: 404, message: 'There is none.', type: 'urn:x' });
  await assert.rejects(api.getMeeting('html'), { name: 'VerbatimError', code: 'not-verbatim' });
  await assert.rejects(api.getMeeting('cut'), { name: 'VerbatimError', code: 'connection-lost', retry: true });
  const abort = new AbortController();
  const searching = api.search('x', { signal: abort.signal });
  abort.abort(new Error('typed on'));
  await assert.rejects(searching, /typed on/);
  await assert.rejects(new Api({ url: 'http://127.0.0.1:1' }).getMeeting('M'), { code: 'no-server', retry: true });
});

test('the client asks about its own room, and of its meeting', async (t) => {
  const { url, asked } = await served(t);
  const room = new Verbatim({ url, room: 'daily', token: 't' });
  await room.meetings({ limit: 2 });
  await room.meetings({ room: '' });
  await room.search('x');
  for (const method of ['stats', 'end', 'erase', 'transcript']) await assert.rejects(room[method](), { code: 'no-meeting' });
  room.meeting = { id: 'M' };
  await room.stats();
  await room.end();
  await room.erase('N');
  await room.transcript('srt');
  assert.deepEqual(asked.map((a) => a.replace(' Bearer t', '')), [
    'GET /v1/meetings?room=daily&limit=2',
    'GET /v1/meetings',
    'GET /v1/search?q=x&room=daily',
    'GET /v1/meetings/M/stats',
    'POST /v1/meetings/M/end',
    'DELETE /v1/meetings/N',
    'GET /v1/meetings/M/transcript.srt',
  ]);
});
