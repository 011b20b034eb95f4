/** Links to what there is of a meeting. */

import { api } from './api.js';
import { el } from './dom.js';
import { askForToken, token } from './token.js';

const names = { txt: 'Text', vtt: 'WebVTT', srt: 'SubRip', json: 'JSON' };
export const formats = /** @type {const} */ (['txt', 'vtt', 'srt', 'json']);

/** The page of a meeting, at a time in it. @param {string} id @param {number} [ms] */
export function meetingPage(id, ms) {
  return `/meetings/${id}${ms === undefined ? '' : `#t=${ms / 1000}`}`;
}

/** @param {any} meeting @param {keyof typeof names} format */
export function transcriptLink(meeting, format) {
  return fileLink(`/v1/meetings/${meeting.id}/transcript.${format}`, `${meeting.room}-${meeting.id}.${format}`, names[format], {
    label: `Transcript as ${names[format]}`,
    data: { format, testid: `download-${format}` },
  });
}

/**
 * @param {string} href
 * @param {string} file its name when it is saved
 * @param {string} text
 * @param {{label: string, data?: Record<string, string>}} more label is what a screen reader says
 */
export function fileLink(href, file, text, { label, data }) {
  const a = el('a', { href, download: file, data }, text);
  a.setAttribute('aria-label', label);
  if (token) a.addEventListener('click', (e) => follow(e, href, file));
  return a;
}

/**
 * The browser sends no token when it follows a link: it gets one that needs none.
 * @param {MouseEvent} event
 * @param {string} path
 * @param {string} file
 */
async function follow(event, path, file) {
  event.preventDefault();
  try {
    el('a', { href: await address(path), download: file }).click();
  } catch (err) {
    if (!askForToken(err)) dispatchEvent(new CustomEvent('trouble', { detail: err }));
  }
}

/** Where a browser finds a file. @param {string} path @returns {Promise<string>} */
export async function address(path) {
  return token ? (await api.links([path]))[0].url : path;
}
