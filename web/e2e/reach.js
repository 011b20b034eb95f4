/**
 * Joins a room in Chromium as a person does, speaks for a while and leaves:
 * `make reach-test` runs it where the network lets little through. Its argument is
 * JSON: {url, room, wav, seconds}; it prints {protocol, relay}: that of the server's
 * candidate, and how a TURN server is reached ("" without one).
 */

import puppeteer from 'puppeteer-core';
import { enter, open, state, until } from './browsers.js';

const { url, room, wav, seconds } = JSON.parse(process.argv[2]);

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox',
    '--disable-background-networking',
    '--ignore-certificate-errors', // the server's is its own root
    '--use-fake-ui-for-media-stream',
    '--use-fake-device-for-media-stream',
    `--use-file-for-fake-audio-capture=${wav}`,
  ],
});
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => browser.close().finally(() => process.exit(1)));
}
try {
  const page = await open(browser, url, room);
  await page.evaluateOnNewDocument(remember);
  await enter(page, 'Ada');
  await state(page, 'connected', 30_000);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const pair = await until(() => page.evaluate(selected), 'the way that was chosen');
  await page.locator('[data-testid="leave"]').click();
  await state(page, 'left');
  await new Promise((resolve) => setTimeout(resolve, 500)); // for the request that ends the session
  console.log(JSON.stringify(pair));
} finally {
  await browser.close();
}

// What follows runs in the page.

function remember() {
  const Real = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Real {
    constructor(...args) {
      super(...args);
      window.connection = this;
    }
  };
}

async function selected() {
  const stats = await window.connection.getStats();
  for (const s of stats.values()) {
    if (s.type !== 'transport' || !s.selectedCandidatePairId) continue;
    const { localCandidateId, remoteCandidateId } = stats.get(s.selectedCandidatePairId);
    return { protocol: stats.get(remoteCandidateId).protocol, relay: stats.get(localCandidateId).relayProtocol ?? '' };
  }
  return null;
}
