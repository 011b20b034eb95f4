/**
 * Merges what the event stream says into one ordered list of captions: interims
 * are replaced in place, finals stay, nothing stands there twice. Pure: no DOM,
 * no clock.
 */

/**
 * @typedef {object} Word
 * @property {string} text
 * @property {number} start_ms
 * @property {number} end_ms
 * @property {number} [confidence] 0 to 1, absent where the engine gives none.
 */

/**
 * One utterance. Times are milliseconds on the meeting's clock. The interims of
 * an utterance carry the id that their final will have.
 * @typedef {object} Segment
 * @property {string} id "<track>.<n>"
 * @property {string} meeting
 * @property {string} track
 * @property {{id: string, name: string}} participant
 * @property {number} start_ms
 * @property {number} end_ms
 * @property {string} text
 * @property {boolean} final
 * @property {number} revision
 * @property {string} engine
 * @property {Word[]} [words] Absent where the engine gives none.
 */

/**
 * What apply made of a segment: "new" and "changed" are to be shown, "removed"
 * is to be taken away (it had been shown, and turned out to hold no words),
 * "ignored" says nothing new.
 * @typedef {'new'|'changed'|'removed'|'ignored'} Change
 */

export class Captions {
  /** @type {Segment[]} */
  #list = [];
  /** @type {Map<string, Segment>} */
  #byId = new Map();
  // The highest revision seen of a segment, kept after it was removed too.
  #revisions = new Map();

  /** All captions in the order in which they were said. @type {readonly Segment[]} */
  get list() {
    return this.#list;
  }

  /** @param {string} id @returns {Segment|undefined} */
  get(id) {
    return this.#byId.get(id);
  }

  /** @param {string} id @returns {number} its place in the list, -1 if it is not there */
  indexOf(id) {
    const seg = this.#byId.get(id);
    return seg ? this.#list.lastIndexOf(seg) : -1;
  }

  /**
   * @param {Segment} seg
   * @returns {Change}
   */
  apply(seg) {
    const known = this.#byId.get(seg.id);
    if (known?.final && !seg.final) return 'ignored';
    // Interims and the finals of other nodes may overtake each other.
    if (!seg.final && seg.revision < (this.#revisions.get(seg.id) ?? 0)) return 'ignored';
    if (known?.final && seg.revision <= known.revision) return 'ignored'; // replayed
    if (known?.final && seg.text.trim() === '') return 'ignored'; // that was about its interim
    this.#revisions.set(seg.id, Math.max(seg.revision, this.#revisions.get(seg.id) ?? 0));

    if (seg.text.trim() === '') return this.#remove(known);
    if (known) this.#list.splice(this.#list.lastIndexOf(known), 1);
    this.#byId.set(seg.id, seg);
    // Nearly every caption belongs at the end, so look from there.
    let at = this.#list.length;
    while (at > 0 && before(seg, this.#list[at - 1])) at--;
    this.#list.splice(at, 0, seg);
    return known ? 'changed' : 'new';
  }

  /**
   * Takes away the interims of tracks whose transcript is finished: nothing
   * will ever replace them.
   * @param {Iterable<string>} tracks
   * @returns {Segment[]} what was taken away
   */
  settle(tracks) {
    const done = new Set(tracks);
    return this.#drop((seg) => !seg.final && done.has(seg.track));
  }

  /**
   * Takes away what was said in a meeting that was erased.
   * @param {string} meeting its id
   * @returns {Segment[]} what was taken away
   */
  forget(meeting) {
    return this.#drop((seg) => seg.meeting === meeting);
  }

  /** @param {(seg: Segment) => boolean} which @returns {Segment[]} */
  #drop(which) {
    const dropped = this.#list.filter(which);
    for (const seg of dropped) this.#remove(seg);
    return dropped;
  }

  #remove(known) {
    if (!known) return 'ignored';
    this.#list.splice(this.#list.lastIndexOf(known), 1);
    this.#byId.delete(known.id);
    return 'removed';
  }
}

// Meetings and tracks are ULIDs, which sort by the time they began. Whoever
// began to speak first stands first; the ids only break ties, so that every
// reader sees the same order.
function before(a, b) {
  if (a.meeting !== b.meeting) return a.meeting < b.meeting;
  if (a.start_ms !== b.start_ms) return a.start_ms < b.start_ms;
  if (a.track !== b.track) return a.track < b.track;
  return number(a.id) < number(b.id);
}

function number(id) {
  return Number(id.slice(id.lastIndexOf('.') + 1));
}
