/** The demo page: a room's captions, live. */

import { Verbatim, validRoom } from './client/verbatim.js';
import { CaptionsView } from './app/captions.js';
import { $, el, setText, show } from './app/dom.js';
import { forever, keepParticipant, roomFromAddress, roomToAddress, tab, takeParticipant, wasIn } from './app/identity.js';
import { meetingPage, transcriptLink } from './app/links.js';
import { Panel } from './app/panel.js';
import { Recognizer, sentence } from './app/recognizer.js';
import { askForToken, token, tokenSays, uninvited } from './app/token.js';
import { afterWords, stateWords } from './app/words.js';

const badRoom = 'A room’s name begins with a small letter or a digit; small letters, digits, “-” and “_” may follow, 64 at most.';
const gaveUp = 'The connection was given up. What was said so far stays here.';

/** @type {Verbatim|undefined} */
let client;
let captions;
let panel;
let shownMeeting;
// Reading along, speaking, or out of the meeting again.
let speaking = false;

// ---- lobby ----

function startLobby() {
  const { room, bad } = roomFromAddress();
  const says = tokenSays();
  $('name').value = says.name || forever.get('name');
  $('name').readOnly = says.name !== ''; // the server goes by the token
  $('room').value = room || says.room || tab.get('room');
  if (bad) roomError(badRoom);
  if (!navigator.mediaDevices) {
    notice(
      'insecure-context',
      'Browsers give the microphone to secure pages only. Open this page over https://, or on the computer that the server runs on as http://localhost. You can read along without a microphone.',
    );
  }
  fillDevices();
  navigator.mediaDevices?.addEventListener?.('devicechange', fillDevices);
  $('join-form').addEventListener('submit', (e) => {
    e.preventDefault();
    enter(true);
  });
  $('listen').addEventListener('click', () => enter(false));
  // Until here the browser itself would have sent the form.
  for (const id of ['join', 'listen']) $(id).disabled = false;
  $('room').addEventListener('input', () => roomError(''));
  const as = bad ? '' : wasIn(room);
  if (as) enter(as === 'speaking', tab.get('muted') === 'true');
}

function roomError(text) {
  setText($('room-error'), text);
  if (text) $('room').setAttribute('aria-invalid', 'true');
  else $('room').removeAttribute('aria-invalid');
}

async function enter(withMicrophone, muted = false) {
  const room = $('room').value.trim().toLowerCase();
  const name = $('name').value.trim();
  if (!validRoom(room)) {
    roomError(room ? badRoom : 'Which room? A name of your choice, such as “daily”.');
    $('room').focus();
    return;
  }
  roomError('');
  notice('');
  if (!token) forever.set('name', name);
  tab.set('room', room);
  roomToAddress(room);

  if (client && !(await sameClient(room, name))) return;
  client ??= await newClient(room, name, muted);
  speaking = withMicrophone;
  tab.set('in', room);
  tab.set('as', withMicrophone ? 'speaking' : 'reading');
  view('meeting');
  if (withMicrophone) await client.join().then(fillDevices, () => {}); // the error event tells
  else client.listen();
}

// After a failure the same client tries again, so that captions stay; another
// room or name is another client, and the simplest way there is a fresh page.
async function sameClient(room, name) {
  if (client.room === room && client.name === name) return true;
  await client.leave();
  location.reload();
  return false;
}

async function newClient(room, name, muted) {
  const c = new Verbatim({ room, name, token, participant: await takeParticipant(), deviceId: $('lobby-device').value, muted });
  await keepParticipant(c.participant);
  c.room = room;
  c.name = name;
  panel = new Panel(() => c.participant, (id) => c.api.transcript(id));
  captions = new CaptionsView(c.captions, panel.colorOf);
  c.addEventListener('state', (e) => showState(e.detail));
  c.addEventListener('meeting', (e) => showMeeting(e.detail));
  c.addEventListener('caption', (e) => {
    captions.put(e.detail);
    show($('empty'), false);
  });
  c.addEventListener('retract', (e) => captions.remove(e.detail.id));
  for (const event of ['joined', 'left', 'coverage', 'ended']) {
    c.addEventListener(event, () => {
      showMeetingNow();
      if (event !== 'coverage') captions.recolor();
      showAfter();
    });
  }
  c.addEventListener('level', (e) => ($('level').value = e.detail));
  c.addEventListener('error', (e) => showError(e.detail));
  setText($('room-name'), room);
  return c;
}

function view(name) {
  document.body.dataset.view = name;
  show($('lobby'), name === 'lobby');
  show($('meeting'), name === 'meeting');
  show($('nav'), name === 'lobby');
  show($('room-name'), name === 'meeting');
  show($('state'), name === 'meeting');
  show($('panel-toggle'), name === 'meeting');
  if (name === 'lobby') document.title = 'Verbatim';
}

// ---- meeting ----

function showState(detail) {
  const words = stateWords(detail, speaking);
  $('state').dataset.state = detail.state;
  $('state').dataset.muted = String(speaking && detail.muted && detail.state === 'connected');
  setText($('state'), words);
  document.title = `${words} · ${client.room} · Verbatim`;

  const inside = ['connecting', 'connected', 'reconnecting'].includes(detail.state);
  show($('bar'), inside);
  show($('mute'), speaking);
  document.querySelector('.mic').hidden = !speaking;
  setText($('leave'), speaking ? 'Leave' : 'Stop reading');
  setText($('mute'), detail.muted ? 'Unmute' : 'Mute');
  $('mute').dataset.muted = String(detail.muted);
  tab.set('muted', String(detail.muted));

  const heard = !deaf;
  deaf = ['off', 'failed'].includes(detail.captions);
  if (heard && deaf) showMeetingNow();

  if (detail.state === 'failed') fail(detail);
  else if (inside) trouble(detail);
  if (detail.state === 'connected' && speaking) setText($('empty'), 'Go ahead and speak: your words appear here.');
  else if (detail.state === 'connected') setText($('empty'), 'Nothing was said yet.');
  else setText($('empty'), words);
  showAfter();
}

// What is over within a second needs no words, and words that come and go would
// push the captions up and down.
let troubleTimer;
function trouble({ state, reason, code }) {
  clearTimeout(troubleTimer);
  if (!reason) notice('');
  else if (state === 'connecting' || !$('notice').hidden) notice(code, reason);
  else troubleTimer = setTimeout(() => notice(code, reason), 1_000);
}

// Captions that are there stay there; without any, the form is the place to
// try again.
function fail(detail) {
  clearTimeout(troubleTimer);
  notice(detail.code, detail.reason, 'bad');
  askForToken(detail);
  tab.set('in', '');
  if (client.captions.list.length === 0) {
    view('lobby');
    $('join').focus();
  }
}

function showMeeting(meeting) {
  if (meeting && shownMeeting && meeting.id !== shownMeeting.id) {
    const at = new Date(meeting.started_at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    const before = transcriptLink(shownMeeting, 'txt');
    setText(before, 'Transcript of the one before');
    captions.divide(`A new meeting began at ${at}. `, before);
  }
  shownMeeting = meeting ?? shownMeeting;
  showMeetingNow();
  captions.recolor();
  showAfter();
}

// The panel, and what there is to say of the recognizer: it is looked at once
// more after a while if that depends on how long something lasts.
const recognizer = new Recognizer();
let lookAgain;
let deaf = true; // nobody tells how it is (any more)
function showMeetingNow() {
  clearTimeout(lookAgain);
  const speakers = deaf ? [] : recognizer.speakers(client.meeting, Date.now());
  if (!deaf && recognizer.undecided) lookAgain = setTimeout(showMeetingNow, 500);
  panel.render(client.meeting, speakers);
  const { condition, text, amount } = sentence(speakers);
  $('recognizer').dataset.condition = condition;
  setText($('recognizer-words'), text);
  setText($('recognizer-amount'), amount);
}

function showAfter() {
  const out = client.state === 'left' || (client.state === 'failed' && client.captions.list.length > 0);
  const over = client.meeting && client.meeting.state !== 'live';
  show($('after'), out || Boolean(over));
  setText($('after-text'), client.state === 'failed' && !over ? gaveUp : afterWords(client.meeting?.state));
  show($('rejoin'), out);
  show($('after-page'), Boolean(client.meeting));
  if (client.meeting) $('after-page').href = meetingPage(client.meeting.id);
}

function notice(code, text = '', severity = 'warn') {
  const node = $('notice');
  if (text && code === 'unauthorized') text = uninvited;
  node.dataset.code = code;
  node.dataset.severity = severity;
  setText(node, text);
  show(node, text !== '');
}

// Connection troubles show as long as they last (showState); what is left are
// troubles with the microphone and refusals.
function showError(err) {
  if (!err.retry && !askForToken(err)) notice(err.code, err.message, 'bad');
}

addEventListener('trouble', (/** @type {any} */ e) => notice(e.detail.code, e.detail.message, 'bad')); // with a download

async function fillDevices() {
  const devices = await Verbatim.devices().catch(() => []);
  const used = client?.deviceId;
  for (const select of [$('lobby-device'), $('device')]) {
    const chosen = (select.id === 'device' && used) || select.value;
    select.replaceChildren(
      el('option', { value: '' }, 'Default microphone'),
      ...devices.map((d) => el('option', { value: d.id }, d.label)),
    );
    select.value = devices.some((d) => d.id === chosen) ? chosen : '';
  }
}

function toggleMute() {
  if (!speaking || !client || !['connecting', 'connected', 'reconnecting'].includes(client.state)) return;
  client.mute(!client.muted);
}

$('mute').addEventListener('click', toggleMute);
$('device').addEventListener('change', () => client.setDevice($('device').value).catch(fillDevices));
$('leave').addEventListener('click', async () => {
  tab.set('in', '');
  clearTimeout(troubleTimer);
  notice('');
  await client.leave({ keepCaptions: speaking });
  $('rejoin').focus();
});
$('rejoin').addEventListener('click', () => enter(speaking));
$('panel-toggle').addEventListener('click', () => {
  const open = $('panel').classList.toggle('open');
  $('panel-toggle').setAttribute('aria-expanded', String(open));
  setText($('panel-toggle'), open ? 'Captions' : 'Details');
});
document.addEventListener('keydown', (e) => {
  if (e.key.toLowerCase() !== 'm' || e.ctrlKey || e.metaKey || e.altKey || e.repeat) return;
  if (e.target.closest('input, select, textarea, [contenteditable]')) return;
  toggleMute();
});

startLobby();
