/** The API, for pages: JSON or an error with a sentence for people. */

import { fromResponse, noServer } from '../client/problem.js';
import { takeToken } from './identity.js';

const token = takeToken();

/**
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} one that is ok; else a VerbatimError is thrown
 */
export async function call(path, init = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const res = await fetch(path, { cache: 'no-store', ...init, headers }).catch((err) => {
    if (init.signal?.aborted) throw err;
    throw noServer(err);
  });
  if (!res.ok) throw await fromResponse(res);
  return res;
}

/** @param {string} path @param {RequestInit} [init] */
export async function json(path, init) {
  return (await call(path, init)).json();
}
