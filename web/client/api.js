/**
 * The server's HTTP API: meetings, transcripts, search, numbers. What fails
 * throws a VerbatimError, or the reason of a signal that the caller has aborted.
 *
 *   const api = new Api({ url: 'https://captions.example.org', token });
 *   const { meetings, next } = await api.meetings({ room: 'daily' });
 */

import { VerbatimError, connectionLost, fromResponse, noServer } from './problem.js';

/** @import { Link, Meeting, MeetingList, Page, PageOfRoom, RoomStats, SearchResult, Stats, Token, Transcript, TranscriptFormat } from './shapes.js' */

// How long an answer may take, with its body.
const deadlineMs = 60_000;

export class Api {
  #base;
  #token;
  #last = '';

  /**
   * @param {object} [o]
   * @param {string|URL} [o.url] the server's base, by default the page's origin
   * @param {Token} [o.token]
   */
  constructor({ url = '/', token = '' } = {}) {
    this.#base = new URL(url, globalThis.location?.href);
    if (!this.#base.pathname.endsWith('/')) this.#base.pathname += '/';
    this.#token = token;
  }

  /** @param {PageOfRoom} [page] @returns {Promise<MeetingList>} */
  meetings({ signal, ...query } = {}) {
    return this.json('v1/meetings', query, { signal });
  }

  /**
   * What was said in all meetings, or in those of a room.
   * @param {string} q all words must be in it; the last may be the beginning of one
   * @param {PageOfRoom} [page]
   * @returns {Promise<SearchResult>}
   */
  search(q, { signal, ...query } = {}) {
    return this.json('v1/search', { q, ...query }, { signal });
  }

  /** @param {string} id @returns {Promise<Meeting>} */
  getMeeting(id) {
    return this.json(meetingPath(id));
  }

  /** @param {string} id @returns {Promise<Transcript>} */
  transcript(id) {
    return this.json(`${meetingPath(id)}/transcript.json`);
  }

  /**
   * A transcript as a file's content.
   * @param {string} id
   * @param {TranscriptFormat} format
   * @returns {Promise<Blob>}
   */
  async transcriptFile(id, format) {
    const res = await this.call(`${meetingPath(id)}/transcript.${format}`);
    return res.blob().catch(brokenOff);
  }

  /**
   * Addresses that need no token, good for an hour: for media elements and downloads.
   * @param {string[]} paths of transcripts and audio, such as "/v1/meetings/…/audio.flac"
   * @returns {Promise<Link[]>} in the same order
   */
  async links(paths) {
    const init = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ paths }) };
    const { links } = await this.json('v1/links', {}, init);
    return links.map((l) => ({ ...l, url: this.url(l.url.replace(/^\//, '')).href }));
  }

  /** @param {string} id @returns {Promise<Stats>} */
  stats(id) {
    return this.json(`${meetingPath(id)}/stats`);
  }

  /** @param {string} room @param {Page} [page] @returns {Promise<RoomStats>} */
  roomStats(room, { signal, ...query } = {}) {
    return this.json(`v1/rooms/${encodeURIComponent(room)}/stats`, query, { signal });
  }

  /** Ends a meeting for everybody in it. @param {string} id @returns {Promise<Meeting>} */
  end(id) {
    return this.json(`${meetingPath(id)}/end`, {}, { method: 'POST' });
  }

  /** Erases everything of a meeting that is over, for good. @param {string} id @returns {Promise<void>} */
  async erase(id) {
    await this.call(meetingPath(id), {}, { method: 'DELETE' });
  }

  /**
   * @param {string} path below the base
   * @param {Record<string, unknown>} [query] empty and undefined values are left out
   * @param {RequestInit} [init] its signal takes the place of the deadline of 60 s
   * @returns {Promise<Response>} one that is ok
   */
  async call(path, query, init = {}) {
    const headers = { ...(await this.headers()), .../** @type {Record<string, string>} */ (init.headers) };
    const signal = init.signal ?? AbortSignal.timeout(deadlineMs);
    const res = await fetch(this.url(path, query), { cache: 'no-store', ...init, signal, headers }).catch((err) => {
      throw init.signal?.aborted ? err : noServer(err, this.url(path));
    });
    if (!res.ok) throw await fromResponse(res);
    return res;
  }

  /**
   * As call, with the answer's JSON.
   * @param {string} path
   * @param {Record<string, unknown>} [query]
   * @param {RequestInit} [init]
   */
  async json(path, query, init) {
    const res = await this.call(path, query, init);
    return res.json().catch((err) => {
      if (init?.signal?.aborted) throw err;
      if (err instanceof SyntaxError) throw new VerbatimError('not-verbatim', { status: res.status, cause: err });
      return brokenOff(err);
    });
  }

  /**
   * @param {string} path below the base
   * @param {Record<string, unknown>} [query]
   */
  url(path, query = {}) {
    const url = new URL(path, this.#base);
    for (const [key, value] of Object.entries(query)) {
      if (value !== undefined && value !== '') url.searchParams.set(key, String(value));
    }
    return url;
  }

  /** What every request carries, with a fresh token. @returns {Promise<Record<string, string>>} */
  async headers() {
    const get = this.#token;
    try {
      this.#last = (typeof get === 'function' ? await get() : get) ?? '';
    } catch (cause) {
      if (cause instanceof VerbatimError) throw cause;
      throw new VerbatimError('no-token', { retry: true, cause });
    }
    return this.authorization();
  }

  /**
   * With the token that was last in use: a page that goes away cannot wait for another.
   * @returns {Record<string, string>}
   */
  authorization() {
    return this.#last ? { Authorization: `Bearer ${this.#last}` } : {};
  }
}

/** @param {string} id */
function meetingPath(id) {
  return `v1/meetings/${encodeURIComponent(id)}`;
}

/** @returns {never} */
function brokenOff(/** @type {unknown} */ err) {
  throw connectionLost(err);
}
