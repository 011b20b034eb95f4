// A connection that breaks for some seconds goes on in the same session, on the
// same track: the browser restarts ICE.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { chromium, enter, firefox, hear, open, state, until } from './browsers.js';
import { Server } from './server.js';
import { recording } from './speech.js';

const speech = recording(['sas-0870'], { pause: 1_000 });
let server;

before(async () => {
  server = await Server.start('restart', '--recognizer', 'none:');
});

after(() => server?.stop());

/** The room's only track, as the API has it. */
async function track(room) {
  const { meetings } = await server.json(`v1/meetings?room=${room}`);
  assert.equal(meetings.length, 1);
  assert.ok(meetings[0].tracks.length <= 1, 'one track');
  return meetings[0].tracks[0];
}

for (const [name, launch] of [['chromium', () => chromium({ wav: speech.path })], ['firefox', firefox]]) {
  test(name, async () => {
    const browser = await launch();
    try {
      const page = await open(browser, server.url, name);
      if (name === 'firefox') await hear(page, speech);
      await page.evaluateOnNewDocument(() => {
        window.patches = [];
        const real = window.fetch;
        window.fetch = async (url, init) => {
          const patch = [];
          if (init?.method === 'PATCH') window.patches.push(patch);
          const res = await real(url, init);
          patch.push(res.status, res.headers.get('ETag'));
          return res;
        };
      });
      await enter(page, 'Ada');
      await state(page, 'connected');
      await until(async () => (await track(name))?.coverage.duration_ms > 3_000, 'audio');

      // The server stands still; what is sent waits in its socket.
      server.process.kill('SIGSTOP');
      await state(page, 'reconnecting');
      const patches = () => page.evaluate(() => window.patches);
      await until(async () => (await patches()).length > 0, 'the restart to be asked for');
      server.process.kill('SIGCONT');
      await until(async () => (await patches()).some(([status, tag]) => status === 200 && /^"\w+"$/.test(tag)), 'the answer to it');
      await state(page, 'connected');

      const before = await track(name);
      await until(async () => (await track(name)).coverage.received_ms > before.coverage.received_ms + 3_000, 'more audio on the same track');
      assert.deepEqual(page.complaints, []);
    } finally {
      await browser.close();
    }
  });
}
