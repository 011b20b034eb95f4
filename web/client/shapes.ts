/** What the server says and what the client tells, as types. Times are RFC 3339 in UTC, durations milliseconds. */

import type { Segment } from './captions.js';
import type { VerbatimError } from './problem.js';
import type { StateDetail } from './state.js';

export type { Segment, Word } from './captions.js';
export type { Code } from './problem.js';
export type { Side, State, StateDetail } from './state.js';

/** A bearer token, or what gets a fresh one: it is called for each request. */
export type Token = string | (() => string | Promise<string>);

/** Of a new Verbatim. */
export interface Options {
  /** `[a-z0-9][a-z0-9_-]{0,63}` */
  room: string;
  /** Shown with the captions. */
  name?: string;
  /** The server's base, by default the page's origin. */
  url?: string | URL;
  token?: Token;
  /** Who this is across reconnects and reloads; random by default. */
  participant?: string;
  /** Added to the microphone's constraints. */
  audio?: MediaTrackConstraints;
  /** The microphone, "" for the browser's default. */
  deviceId?: string;
  /** Begin muted. */
  muted?: boolean;
  /** In addition to those that the server names. */
  iceServers?: RTCIceServer[];
  /** In place of the browser's. */
  getUserMedia?: (constraints: MediaStreamConstraints) => Promise<MediaStream>;
}

/** The events of a Verbatim by name, each with its detail. */
export interface Events {
  /** The connection's state, of which `reason` is a sentence or "". */
  state: StateDetail & { muted: boolean };
  /** The live meeting or null: on each (re)connect, and when a new one begins. */
  meeting: Meeting | null;
  /** A caption that is new or changed; stale and repeated ones never come. */
  caption: Segment;
  /** An interim that turned out to hold no words, or a caption of a meeting that was erased. */
  retract: { id: string };
  joined: { meeting: string; participant: Participant };
  left: { meeting: string; participant: Participant };
  coverage: { meeting: string; coverage: Coverage; tracks: TrackProgress[] };
  ended: { meeting: string; state: Meeting['state'] };
  /** Nothing is left of the meeting; its captions are retracted before. */
  erased: { meeting: string };
  /** How loud the microphone is, 0 to 1. */
  level: number;
  /** The microphones that there are now, when one came or went, or another is in use. */
  devices: Device[];
  /** Once per failure, not per attempt. */
  error: VerbatimError;
}

/** An EventTarget that knows its events. */
export interface Target<E> {
  addEventListener<K extends keyof E>(type: K, listener: Listener<E[K]> | null, options?: boolean | AddEventListenerOptions): void;
  removeEventListener<K extends keyof E>(type: K, listener: Listener<E[K]> | null, options?: boolean | EventListenerOptions): void;
  dispatchEvent(event: Event): boolean;
}

export type Listener<D> = ((event: CustomEvent<D>) => unknown) | { handleEvent(event: CustomEvent<D>): unknown };

/** A microphone. */
export interface Device {
  id: string;
  label: string;
}

export interface MeetingHead {
  id: string;
  room: string;
  /** Over is `ended` while transcripts are outstanding, then `complete`, or `incomplete` where something could not be transcribed. */
  state: 'live' | 'ended' | 'complete' | 'incomplete';
  started_at: string;
  ended_at: string | null;
}

export interface Meeting extends MeetingHead {
  /** When its recordings were made, if they were. */
  recorded_at?: string;
  participants: Participant[];
  tracks: Track[];
  coverage: Coverage;
}

export interface Participant {
  id: string;
  name: string;
  joined_at: string;
  /** Null while in the room. */
  left_at: string | null;
}

/** What the `coverage` events say of a track. */
export interface TrackProgress {
  id: string;
  /** The participant's id. */
  participant: string;
  state: 'live' | 'pending' | 'complete' | 'incomplete';
  coverage: Coverage;
  /** Only while it is transcribed. */
  transcription?: Transcription;
}

export interface Track extends TrackProgress {
  /** Why it ended, absent while it is live. */
  ended_by?: 'left' | 'replaced' | 'timeout' | 'server';
  started_at: string;
  audio: 'kept' | 'expired' | 'lost';
  audio_expired_at?: string;
}

/** What the recognizer is doing. */
export interface Transcription {
  state: 'waiting' | 'opening' | 'live' | 'catching_up' | 'idle' | 'retrying' | 'circuit_open' | 'fallback' | 'finishing';
  engine: string;
  retries: number;
  since: string;
}

/** The account: the first six add up to the duration, and so do the last three. */
export interface Coverage {
  duration_ms: number;
  received_ms: number;
  recovered_ms: number;
  concealed_ms: number;
  silence_ms: number;
  discontinuity_ms: number;
  shed_ms: number;
  transcribed_ms: number;
  pending_ms: number;
  skipped_ms: number;
}

export type TranscriptFormat = 'json' | 'vtt' | 'srt' | 'txt';

export interface Transcript {
  meeting: Meeting;
  segments: Segment[];
  /** The meeting is over and every track was transcribed to its end. */
  complete: boolean;
  missing: Missing[];
}

/** A stretch of a track of which `missing_ms` have no words. */
export interface Missing {
  track: string;
  start_ms: number;
  end_ms: number;
  missing_ms: number;
  kind: 'concealed' | 'discontinuity' | 'shed' | 'skipped' | 'pending';
  /** The kind in words. */
  reason: string;
}

/** Which page of a list. */
export interface Page {
  /** `next` of the page before. */
  cursor?: string;
  limit?: number;
  signal?: AbortSignal;
}

export interface PageOfRoom extends Page {
  /** Left out or "" for all rooms. */
  room?: string;
}

export interface MeetingList {
  /** The newest first. */
  meetings: Meeting[];
  /** The cursor of the page that follows, "" on the last. */
  next: string;
}

/** An address of a file that needs no token. */
export interface Link {
  path: string;
  /** Absolute. */
  url: string;
  expires_at: string;
}

export interface SearchResult {
  /** The newest first. */
  found: { meeting: MeetingHead; segment: Segment }[];
  next: string;
}

export interface Span {
  start_ms: number;
  end_ms: number;
}

/** A meeting in numbers: docs/INSIGHT.md defines them. Null is where there is no such thing. */
export interface Numbers {
  duration_ms: number;
  talk_ms: number;
  silence_ms: number;
  overlap_ms: number;
  double_talk_ms: number;
  overlaps: number;
  turns: number;
  interruptions: number;
  words: number | null;
  words_per_minute: number | null;
  balance: number | null;
}

export interface Stats extends MeetingHead, Numbers {
  coverage: Coverage;
  participants: Talker[];
  /** `talk_ms` and `participants` have the same order. */
  timeline: { bucket_ms: number; buckets: (Span & { talk_ms: number[]; balance: number | null })[] };
  trend: {
    meetings: number;
    metrics: { metric: string; value: number; usual: number; change: number; meetings: number }[];
    participants: { id: string; share: number; usual_share: number; change: number; meetings: number }[];
  };
}

/** What a participant said, in numbers. */
export interface Talker {
  id: string;
  name: string;
  talk_ms: number;
  /** Of all participants' talk. */
  share: number;
  overlapped_ms: number;
  turns: number;
  longest_turn: Span | null;
  short_talks: number;
  interruptions: number;
  interrupted: number;
  words: number | null;
  words_per_minute: number | null;
}

export interface RoomStats {
  room: string;
  /** The newest first. */
  meetings: (MeetingHead & Numbers & { participants: number })[];
  trend: {
    meetings: number;
    metrics: { metric: string; usual: number; per_meeting: number | null; meetings: number }[];
    participants: { id: string; name: string; meetings: number; talk_ms: number; usual_share: number }[];
  };
  next: string;
}
