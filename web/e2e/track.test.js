// The browser's own <track> reads what people download: every cue of a real
// meeting has the times, the text and the speaker of its segment, whatever was said
// and whatever people call themselves.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { chromium, firefox } from './browsers.js';
import { Server, binary } from './server.js';

const run = promisify(execFile);
const speech = join(import.meta.dirname, '../../internal/speech');
const names = ['Ada <ada@example.org> & "Söhne"', 'Bob -->', '</v> שלום 👩🏽‍🚀', "O'Hara--"];
let server, transcript;

before(async () => {
  server = await Server.start('track', '--recognizer', `command:node ${join(import.meta.dirname, 'nasty.js')}`);
  // All at once, so that they overlap. Each speaks for 3 to 8 s.
  await Promise.all(
    names.map((name, i) =>
      run(binary, ['publish', join(speech, `sas-08${7 + (i % 3)}0.opus`), '--room', 'nasty', '--name', name, '--url', server.url]),
    ),
  );
  const { meetings } = await server.json('/v1/meetings');
  await server.json(`/v1/meetings/${meetings[0].id}/end`, { method: 'POST' });
  transcript = await server.json(`/v1/meetings/${meetings[0].id}/transcript.json`);
});

after(() => server?.stop());

// Runs in the page.
async function cuesOf(src) {
  const video = document.createElement('video');
  const track = document.createElement('track');
  track.src = src;
  video.append(track);
  document.body.append(video);
  track.track.mode = 'hidden'; // one that is disabled is not loaded
  await new Promise((resolve, reject) => {
    track.onload = resolve;
    track.onerror = () => reject(new Error('the track is refused'));
  });
  return Array.from(track.track.cues, (cue) => {
    const html = cue.getCueAsHTML();
    return {
      start: Math.round(cue.startTime * 1000),
      end: Math.round(cue.endTime * 1000),
      text: html.textContent,
      voices: Array.from(html.querySelectorAll('*'), (n) => [n.localName, n.title.trim()]), // Chromium keeps the space behind a name
    };
  });
}

// One line, with single spaces where there was any white space: what a cue can hold.
const line = (text) => text.split(/[\s\u0085]+/u).filter(Boolean).join(' ');

// Firefox 153 does not turn character references in a name back, as WebVTT 1 (6.4)
// says, but it takes them for nothing else, either.
const escaped = (name) => name.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const voice = { chromium: (name) => name, firefox: escaped };

for (const [name, launch] of Object.entries({ chromium, firefox })) {
  test(name, async () => {
    const { segments, complete } = transcript;
    assert.ok(complete && segments.length > 20, `${segments.length} segments`);
    assert.ok(segments.some((s, i) => i > 0 && s.start_ms < segments[i - 1].end_ms), 'nobody speaks while another does');
    assert.equal(new Set(segments.map((s) => s.participant.name)).size, names.length);
    const browser = await launch();
    try {
      const page = await browser.newPage();
      await page.goto(server.url);
      const cues = await page.evaluate(cuesOf, `/v1/meetings/${transcript.meeting.id}/transcript.vtt`);
      assert.deepEqual(
        cues,
        segments.map((s) => ({ start: s.start_ms, end: s.end_ms, text: line(s.text), voices: [['span', voice[name](line(s.participant.name))]] })),
      );
    } finally {
      await browser.close();
    }
  });
}
