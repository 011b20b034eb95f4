import test from 'node:test';
import assert from 'node:assert/strict';
import { SSEParser } from './sse.js';

function parse(...pieces) {
  const events = [];
  const parser = new SSEParser((e) => events.push(e));
  for (const piece of pieces) parser.push(piece);
  return { events, parser };
}

const cases = [
  ['one event', 'event: state\ndata: {}\n\n', [{ event: 'state', data: '{}', id: undefined }]],
  ['without a name it is a message', 'data: x\n\n', [{ event: 'message', data: 'x', id: undefined }]],
  ['several data lines', 'data: a\ndata: b\n\n', [{ event: 'message', data: 'a\nb', id: undefined }]],
  ['only one space is taken off', 'data:  a\n\n', [{ event: 'message', data: ' a', id: undefined }]],
  ['no space', 'data:a\n\n', [{ event: 'message', data: 'a', id: undefined }]],
  ['a field without a colon is empty', 'data\n\n', [{ event: 'message', data: '', id: undefined }]],
  ['comments are nothing', ': keep-alive\n\ndata: a\n: b\n\n', [{ event: 'message', data: 'a', id: undefined }]],
  ['no data, no event', 'event: x\n\ndata: a\n\n', [{ event: 'message', data: 'a', id: undefined }]],
  ['CR ends lines', 'data: a\r\rdata: b\r\r', [{ event: 'message', data: 'a', id: undefined }, { event: 'message', data: 'b', id: undefined }]],
  ['CRLF ends lines', 'data: a\r\n\r\n', [{ event: 'message', data: 'a', id: undefined }]],
  ['a byte order mark is not data', '\uFEFFdata: a\n\n', [{ event: 'message', data: 'a', id: undefined }]],
  ['an unfinished event never comes', 'data: a\n', []],
  ['unknown fields are ignored', 'foo: x\ndata: a\n\n', [{ event: 'message', data: 'a', id: undefined }]],
  ['ids belong to their event', 'id: 7\ndata: a\n\ndata: b\n\n', [{ event: 'message', data: 'a', id: '7' }, { event: 'message', data: 'b', id: undefined }]],
];

for (const [name, stream, want] of cases) {
  test(name, () => assert.deepEqual(parse(stream).events, want));
  test(`${name}, cut after each character`, () => assert.deepEqual(parse(...stream).events, want));
}

test('the last id stays, also after events without one', () => {
  assert.equal(parse('id: 7\ndata: a\n\ndata: b\n\n').parser.lastEventId, '7');
});

test('the id of half an event does not count', () => {
  assert.equal(parse('id: 7\ndata: a\n\nid: 8\ndata: b\n').parser.lastEventId, '7');
});

test('an id with a NUL does not count', () => {
  assert.equal(parse('id: 7\ndata: a\n\nid: 8\0\ndata: b\n\n').parser.lastEventId, '7');
});

test('retry takes digits only', () => {
  assert.equal(parse('retry: 2500\n').parser.retry, 2500);
  assert.equal(parse('retry: soon\n').parser.retry, undefined);
});
