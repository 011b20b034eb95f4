/** The browsers, and what a person does with the page and sees of it. */

import puppeteer from 'puppeteer-core';
import { join } from 'node:path';
import { artifacts } from './server.js';

/** How many times longer everything may take on a busy machine. */
export const slow = Number(process.env.SLOW ?? 1);

/**
 * Chromium; its microphone hears the WAV file, over and over. Without ui the
 * permission is what the test says it is.
 */
export function chromium({ wav, ui = true } = {}) {
  return puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      ...(ui ? ['--use-fake-ui-for-media-stream'] : []),
      '--use-fake-device-for-media-stream',
      ...(wav ? [`--use-file-for-fake-audio-capture=${wav}`] : []),
    ],
  });
}

/** Firefox as it is installed; its microphone is replaced by hear(). */
export function firefox() {
  return puppeteer.launch({
    browser: 'firefox',
    executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
    extraPrefsFirefox: {
      'media.navigator.permission.disabled': true,
      'media.navigator.streams.fake': true,
      'media.autoplay.default': 0,
    },
  });
}

/**
 * Opens the page of a room. Everything that the page complains about in the
 * console is kept in page.complaints.
 */
export async function open(browser, url, room) {
  const page = await browser.newPage();
  page.complaints = [];
  page.on('pageerror', (e) => page.complaints.push(e.message));
  await page.evaluateOnNewDocument(watch);
  page.address = `${url}?room=${room}`;
  return page;
}

// Runs in the page, before its own scripts: when the microphone was opened, and
// each state of each caption with its time.
function watch() {
  window.seen = [];
  const media = navigator.mediaDevices;
  if (media) {
    const real = media.getUserMedia.bind(media);
    media.getUserMedia = async (c) => {
      const stream = await real(c);
      window.microphoneAt ??= Date.now();
      return stream;
    };
  }
  const look = () => {
    for (const li of document.querySelectorAll('[data-testid="caption"]')) {
      const now = { id: li.dataset.id, final: li.dataset.final === 'true', speaker: li.dataset.speaker, text: li.querySelector('.words').textContent };
      const key = JSON.stringify(now);
      if (li.lastSeen === key) continue;
      li.lastSeen = key;
      window.seen.push({ ...now, at: Date.now() });
    }
  };
  document.addEventListener('DOMContentLoaded', () => {
    new MutationObserver(look).observe(document.getElementById('captions'), { childList: true, subtree: true, characterData: true, attributes: true, attributeFilter: ['data-final'] });
  });
}

/**
 * Gives the page recorded speech in place of a microphone (Firefox, which has
 * no switch for it). The page's policy forbids to play what is not its own, so
 * the player lives in a frame of another document of the server.
 */
export async function hear(page, recording) {
  await page.evaluateOnNewDocument((wav) => {
    navigator.mediaDevices.getUserMedia = async () => {
      const frame = document.createElement('iframe');
      frame.hidden = true;
      frame.src = '/healthz';
      const loaded = new Promise((resolve) => (frame.onload = resolve));
      document.body.append(frame);
      await loaded;
      const w = frame.contentWindow;
      const bytes = Uint8Array.from(atob(wav), (c) => c.charCodeAt(0));
      const audio = new w.Audio(w.URL.createObjectURL(new w.Blob([bytes], { type: 'audio/wav' })));
      audio.loop = true;
      await audio.play();
      window.player = audio;
      window.microphoneAt ??= Date.now();
      return audio.mozCaptureStream();
    };
  }, recording.base64);
}

/** Joins as a person does: types the name, presses the button. */
export async function enter(page, name) {
  await page.goto(page.address);
  await page.locator('[data-testid="name"]').fill(name);
  await page.locator('[data-testid="join"]').click(); // waits until the page is ready
}

/** The captions as they stand on the page. */
export function captions(page) {
  return page.$$eval('[data-testid="caption"]', (items) =>
    items.map((li) => ({
      id: li.dataset.id,
      final: li.dataset.final === 'true',
      speaker: li.dataset.speaker,
      text: li.querySelector('.words').textContent,
    })),
  );
}

/** Waits until the state that the page shows is this. */
export async function state(page, wanted, timeout) {
  await until(async () => (await page.$eval('#state', (n) => n.dataset.state)) === wanted, `the state ${wanted}`, timeout);
}

export function text(page, id) {
  return page.$eval(`[data-testid="${id}"]`, (n) => n.textContent.trim());
}

/** Waits until check gives something that is true, and returns it; a minute unless it may take longer. */
export async function until(check, what, timeout = 60_000) {
  const deadline = Date.now() + timeout * slow;
  for (;;) {
    const got = await check();
    if (got) return got;
    if (Date.now() > deadline) throw new Error(`waited ${timeout * slow} ms in vain for ${what}`);
    await new Promise((r) => setTimeout(r, 50));
  }
}

export function shot(page, name) {
  return page.screenshot({ path: join(artifacts, `${name}.png`) });
}
