/**
 * A parser for Server-Sent Events (WHATWG HTML, "Interpreting an event
 * stream"). The browser's EventSource cannot send an Authorization header, so
 * the client reads the stream by fetch and parses it here. Pure: text in,
 * events out.
 */

/**
 * @typedef {object} ServerEvent
 * @property {string} event The event's name, "message" where the server gave none.
 * @property {string} data
 * @property {string|undefined} id The event's own id, undefined where it carries none.
 */

export class SSEParser {
  #onEvent;
  #buffer = '';
  #started = false;
  #endedInCR = false;
  #event = '';
  #data = [];
  /** @type {string|undefined} */
  #id = undefined;

  /** The last id that the server gave: what Last-Event-ID is to say. */
  lastEventId = '';
  /** The server's wish for the delay before a reconnect, in ms, if it sent one. */
  retry = /** @type {number|undefined} */ (undefined);

  /** @param {(event: ServerEvent) => void} onEvent */
  constructor(onEvent) {
    this.#onEvent = onEvent;
  }

  /**
   * Takes the next piece of the stream, cut anywhere.
   * @param {string} text
   */
  push(text) {
    if (text === '') return;
    if (!this.#started) {
      this.#started = true;
      if (text.startsWith('\uFEFF')) text = text.slice(1);
    }
    // A line may end in CR, LF or CRLF. A CR at the end of a piece ends its
    // line at once; the LF that may open the next piece belongs to it.
    if (this.#endedInCR && text.startsWith('\n')) text = text.slice(1);
    this.#endedInCR = text.endsWith('\r');
    const lines = (this.#buffer + text).split(/\r\n|\r|\n/);
    this.#buffer = lines.pop() ?? '';
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === '') {
      this.#dispatch();
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return; // a comment: the server's keep-alive
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value.startsWith(' ')) value = value.slice(1);
    switch (field) {
      case 'event':
        this.#event = value;
        break;
      case 'data':
        this.#data.push(value);
        break;
      case 'id':
        if (!value.includes('\0')) this.#id = value;
        break;
      case 'retry':
        if (/^\d+$/.test(value)) this.retry = Number(value);
        break;
    }
  }

  #dispatch() {
    const event = { event: this.#event || 'message', data: this.#data.join('\n'), id: this.#id };
    const hasData = this.#data.length > 0;
    this.#event = '';
    this.#data = [];
    this.#id = undefined;
    // The id counts once its event is whole, so that an event cut in half by
    // a lost connection is sent again.
    if (event.id !== undefined) this.lastEventId = event.id;
    if (hasData) this.#onEvent(event);
  }
}
