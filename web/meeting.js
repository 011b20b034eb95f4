/** A meeting afterwards: what was said, heard, and what it was like. */

import { api } from './app/api.js';
import { CoverageView } from './app/coverage.js';
import { $, colors, el, setText, show } from './app/dom.js';
import { InsightView } from './app/insight.js';
import { fileLink, formats, transcriptLink } from './app/links.js';
import { Player } from './app/player.js';
import { askForToken, uninvited } from './app/token.js';
import { Timeline } from './app/timeline.js';
import { TranscriptView } from './app/transcript.js';
import { day, meetingState } from './app/words.js';

// A meeting that is not finished yet is looked at again after this time.
const lookAgainMs = 2_000;
// So long a recording that is not made yet is waited for.
const recordingMs = 30_000;

const id = location.pathname.split('/')[2];
const path = `/v1/meetings/${encodeURIComponent(id)}`;
let meeting;
let shownState = '';
let completeSince = 0;
let built = ''; // what the links were made of
let failing = false; // the last look at the meeting failed
let timer;

const order = new Map(); // participant → colour, by the order in which they came
function colorOf(participant) {
  if (!order.has(participant)) order.set(participant, order.size % colors);
  return order.get(participant);
}

const player = new Player(onTime);
const transcript = new TranscriptView({ meeting: id, colorOf, seek: (ms) => seek(ms, true) });
const timeline = new Timeline((ms) => seek(ms, false));
const insight = new InsightView(colorOf, (ms) => seek(ms, true));
const coverage = new CoverageView((id) => api.transcript(id));

function onTime(ms) {
  timeline.at(ms);
  transcript.at(ms);
}

function seek(ms, play) {
  player.seek(ms);
  transcript.jumpTo(ms);
  if (play) player.play();
}

// ---- what is shown ----

async function update() {
  clearTimeout(timer);
  try {
    meeting = await api.getMeeting(id);
    if (failing) notice('');
    failing = false;
    for (const p of meeting.participants) colorOf(p.id);
    showHead();
    showAudio();
    coverage.render(meeting);
    if (meeting.state !== shownState) await showAll();
  } catch (err) {
    failing = true;
    failed(err);
    if (!err.retry) return;
  }
  if (!finished()) timer = setTimeout(update, lookAgainMs);
}

/** Whether the meeting is transcribed to its end. */
function transcribed() {
  return meeting?.state === 'complete' || meeting?.state === 'incomplete';
}

function finished() {
  return transcribed() && (meeting.recorded_at || waitedForRecording());
}

function waitedForRecording() {
  completeSince ||= Date.now();
  return Date.now() - Date.parse(meeting.ended_at) > recordingMs || Date.now() - completeSince > recordingMs;
}

function showHead() {
  const when = day(meeting.started_at);
  setText($('room'), meeting.room);
  setText($('when'), when);
  $('when').dateTime = meeting.started_at;
  setText($('title'), `Meeting in ${meeting.room}, ${when}`);
  document.title = `${meeting.room}, ${when} · Verbatim`;
  $('state').dataset.state = meeting.state;
  setText($('state'), meetingState(meeting.state));
  show($('state'), true);
  const live = meeting.state === 'live';
  show($('end-meeting'), live);
  show($('erase'), !live); // it is refused
  show($('live-note'), live);
  $('live-link').href = `/?room=${meeting.room}`;
}

function showAudio() {
  const over = transcribed();
  if (!over) player.none(meeting.state === 'live' ? 'The recording can be played when the meeting is over.' : 'The recording comes when the transcript is finished.');
  else if (!meeting.recorded_at && meeting.tracks.some((t) => t.audio === 'expired')) player.none('The audio of this meeting is not kept any more.');
  else if (!meeting.recorded_at && !waitedForRecording()) player.none('The recording is being made…');
  else player.load(`${path}/audio.flac`);
  showLinks(over);
}

// Made anew only when there are others: who is on one with the keyboard stays there.
function showLinks(over) {
  const kept = meeting.tracks.map((t) => ({ opus: meeting.recorded_at || t.audio === 'kept', wav: t.audio === 'kept' }));
  const now = JSON.stringify([over, kept]);
  if (now === built) return;
  built = now;
  $('transcripts').replaceChildren(...formats.map((f) => el('li', {}, transcriptLink(meeting, f))));
  const all = over && kept.every((k) => k.opus) && kept.length > 0;
  const links = all ? [fileLink(`${path}/audio.flac`, `${meeting.room}-${id}.flac`, 'Everybody, FLAC', { label: 'Recording of everybody as FLAC', data: { testid: 'download-flac' } })] : [];
  for (const [n, t] of meeting.tracks.entries()) {
    const who = meeting.participants.find((p) => p.id === t.participant)?.name || 'Someone';
    for (const [format, name] of [['opus', 'Opus'], ['wav', 'WAV']]) {
      if (!kept[n][format]) continue;
      links.push(fileLink(`${path}/tracks/${t.id}/audio.${format}`, `${who}-${n + 1}.${format}`, `${who}, ${name}`, { label: `Audio of ${who} as ${name}, part ${n + 1}`, data: { testid: `download-${format}` } }));
    }
  }
  $('recordings').replaceChildren(...links.map((a) => el('li', {}, a)));
  setText($('recordings-hint'), links.length ? 'Opus: as it was sent. WAV: as it was transcribed.' : kept.length ? 'The audio is not kept any more.' : 'No audio was received.');
}

async function showAll() {
  const [doc, stats, room] = await Promise.all([
    api.transcript(id),
    api.stats(id),
    api.roomStats(meeting.room),
  ]);
  shownState = meeting.state;
  setText($('empty'), doc.segments.length ? '' : 'Nothing was said, as far as it is transcribed.');
  show($('empty'), doc.segments.length === 0);
  show($('find'), doc.segments.length > 0);
  const last = doc.segments.reduce((ms, s) => Math.max(ms, s.end_ms), 0);
  timeline.render(meeting, doc.segments, Math.max(stats.duration_ms, last), colorOf);
  insight.render(stats, room);
  await transcript.render(doc.segments);
  find();
  fromAddress();
}

function failed(err) {
  if (askForToken(err)) return notice(err.code, uninvited);
  if (err.status === 404) {
    setText($('empty'), 'There is no such meeting: it may have been erased.');
    for (const node of [$('panel'), $('panel-toggle'), $('bar'), $('find')]) show(node, false);
    document.querySelector('.after-page').classList.add('gone');
    document.title = 'No such meeting · Verbatim';
    return;
  }
  if (!meeting) setText($('empty'), 'The meeting could not be read.');
  notice(err.code, err.message ?? String(err));
}

function notice(code, ...content) {
  $('notice').dataset.code = code;
  $('notice').replaceChildren(...content);
  show($('notice'), content.length > 0);
}

// ---- what people do ----

function fromAddress() {
  const t = Number(new URLSearchParams(location.hash.slice(1)).get('t') ?? NaN);
  if (Number.isFinite(t) && t >= 0) seek(Math.min(1000 * t, timeline.duration), false);
}
addEventListener('hashchange', fromAddress);
addEventListener('trouble', (/** @type {any} */ e) => failed(e.detail)); // with a download

function find() {
  const text = $('find-text').value;
  const n = transcript.find(text);
  setText($('find-sum'), text.trim() ? (n === 1 ? '1 place' : `${n} places`) : '');
}
let finding;
$('find-text').addEventListener('input', () => {
  clearTimeout(finding);
  finding = setTimeout(find, 150);
});
$('find').addEventListener('submit', (e) => e.preventDefault());

$('panel-toggle').addEventListener('click', () => {
  const open = $('panel').classList.toggle('open');
  $('panel-toggle').setAttribute('aria-expanded', String(open));
  setText($('panel-toggle'), open ? 'Transcript' : 'Insight');
});

$('end-meeting').addEventListener('click', async () => {
  await api.end(id).catch(failed);
  update();
});

$('erase').addEventListener('click', () => {
  $('erase-dialog').returnValue = ''; // of the time before: Escape leaves it as it is
  $('erase-dialog').showModal();
});
$('erase-dialog').addEventListener('close', async () => {
  if ($('erase-dialog').returnValue !== 'erase') return;
  try {
    await api.erase(id);
    location.assign('/meetings');
  } catch (err) {
    failed(err);
  }
});

update();
