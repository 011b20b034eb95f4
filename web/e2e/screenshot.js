/** Makes docs/images/captions.png and meeting.png: two people in a meeting, and the meeting afterwards, on a real server. */

import { mkdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { captions, chromium, enter, firefox, hear, open, state, until } from './browsers.js';
import { Server } from './server.js';
import { recording } from './speech.js';

const out = resolve(process.argv[2] ?? `${import.meta.dirname}/../../docs/images/captions.png`);
// They take turns: Ada, Grace, Ada, and Grace again.
const ada = recording(['sas-0870', 'sas-0880'], { lead: 800, pause: 8_000 });
const grace = recording(['sas-0890'], { lead: 7_000, pause: 5_000 });

const server = await Server.start('screenshot', '--linger', '1s');
const chrome = await chromium({ wav: ada.path });
const fox = await firefox();
try {
  const one = await open(chrome, server.url, 'daily');
  await one.setViewport({ width: 1200, height: 720, deviceScaleFactor: 2 });
  const two = await open(fox, server.url, 'daily');
  await hear(two, grace);
  await enter(one, 'Ada');
  await state(one, 'connected');
  await enter(two, 'Grace');
  await until(
    async () => {
      const list = await captions(one);
      return list.filter((c) => c.final).length >= 4 && list.some((c) => !c.final && c.text.split(' ').length > 4);
    },
    'some captions, and one that is being spoken',
    60_000,
  );
  mkdirSync(dirname(out), { recursive: true });
  await one.screenshot({ path: out });
  console.log(out);

  await until(async () => (await captions(one)).filter((c) => c.final).length >= 8, 'more captions', 60_000);
  for (const page of [one, two]) {
    await page.bringToFront();
    await page.click('[data-testid="leave"]');
  }
  const link = await one.$eval('[data-testid="after-page"]', (a) => a.href);
  const api = `v1${new URL(link).pathname}`;
  await until(async () => (await server.json(api)).recorded_at, 'the recording', 60_000);
  const { segments } = await server.json(`${api}/transcript.json`);
  await one.goto(`${link}#t=${segments[2].start_ms / 1000 + 2.5}`);
  await one.waitForSelector('.word.now');
  const after = resolve(dirname(out), 'meeting.png');
  await one.screenshot({ path: after });
  console.log(after);
} finally {
  await chrome.close();
  await fox.close();
  await server.stop();
}
