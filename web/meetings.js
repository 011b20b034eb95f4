/** All meetings, and a search in what was said. */

import { validRoom } from './client/verbatim.js';
import { api } from './app/api.js';
import { $, colors, el, setText, show } from './app/dom.js';
import { meetingPage } from './app/links.js';
import { askForToken, tokenSays, uninvited } from './app/token.js';
import { clock, day, length, meetingState, searchMarks } from './app/words.js';

const perPage = 20;
let asked = 0; // what is answered late is not shown
let next = '';

/** What the address asks for, so that a reload and a link show the same. */
function wanted() {
  const p = new URLSearchParams(location.search);
  return { q: (p.get('q') ?? '').trim(), room: (p.get('room') ?? tokenSays().room).trim().toLowerCase() };
}

async function load(cursor = '') {
  const { q, room } = wanted();
  const ask = ++asked;
  if (!cursor) {
    $('q').value = q;
    $('room').value = room;
    show($('found'), q !== '');
    show($('meetings'), q === '');
    next = '';
    for (const list of [$('found'), $('meetings')]) list.replaceChildren();
    setText($('sum'), '');
    show($('more'), false);
  }
  if (room && !validRoom(room)) return problem('A room’s name has small letters, digits, “-” and “_”.');
  problem('');
  $('more').disabled = true;
  try {
    const wish = { room, cursor, limit: perPage };
    const page = await (q ? api.search(q, wish) : api.meetings(wish));
    if (ask !== asked) return;
    notice('');
    next = page.next;
    if (q) render($('found'), page.found.map((f) => foundItem(f, q)), cursor);
    else render($('meetings'), page.meetings.map(meetingItem), cursor);
    sum(q, room);
  } catch (err) {
    if (ask === asked) notice(err.code, askForToken(err) ? uninvited : (err.message ?? String(err)));
  }
  show($('more'), next !== '');
  $('more').disabled = false;
}

function render(list, items, cursor) {
  if (!cursor) list.replaceChildren();
  list.append(...items);
  if (cursor) items[0]?.querySelector('a')?.focus();
}

function sum(q, room) {
  const n = (q ? $('found') : $('meetings')).children.length;
  const where = room ? ` in the room ${room}` : '';
  const count = (one, many) => (n === 1 ? `1 ${one}` : `${n} ${many}`);
  const more = next ? 'The newest ' : '';
  if (n === 0) setText($('sum'), q ? `Nobody said “${q}”${where}, as far as it is transcribed.` : `No meeting was held${where} yet.`);
  else setText($('sum'), `${more}${q ? count('place', 'places') : count('meeting', 'meetings')}${where}`);
}

function problem(text) {
  setText($('room-error'), text);
  if (text) $('room').setAttribute('aria-invalid', 'true');
  else $('room').removeAttribute('aria-invalid');
}

function notice(code, text = '') {
  $('notice').dataset.code = code;
  setText($('notice'), text);
  show($('notice'), text !== '');
}

function meetingItem(m) {
  const who = m.participants.map((p, i) =>
    el('span', { className: 'person' }, el('span', { className: 'dot', data: { color: i % colors } }), p.name || 'Someone'),
  );
  const shown = who.slice(0, 6);
  if (who.length > shown.length) shown.push(el('span', { className: 'person' }, `and ${who.length - shown.length} more`));
  const at = el('time', { dateTime: m.started_at }, day(m.started_at));
  const item = el(
    'li',
    { className: 'card', data: { id: m.id, state: m.state, testid: 'meeting' } },
    el('h2', {}, el('a', { href: meetingPage(m.id) }, m.room)),
    el('p', { className: 'facts' }, at, el('span', {}, length(m, Date.now())), el('span', { className: 'chip', data: { state: m.state } }, meetingState(m.state))),
    el('p', { className: 'who' }, ...(who.length ? shown : ['Nobody came.'])),
  );
  if (m.state === 'live') item.append(el('a', { className: 'go', href: `/?room=${m.room}` }, 'Go to the room'));
  return item;
}

function foundItem({ meeting, segment }, q) {
  const text = searchMarks(segment.text, q).map((p, n) => (n % 2 ? el('mark', {}, p) : p));
  const at = clock(segment.start_ms);
  return el(
    'li',
    { className: 'card', data: { id: segment.id, testid: 'found-item' } },
    el('h2', {}, el('a', { href: meetingPage(meeting.id, segment.start_ms) }, `${meeting.room}, ${at}`)),
    el('p', { className: 'facts' }, el('time', { dateTime: meeting.started_at }, day(meeting.started_at))),
    el('p', {}, el('b', {}, segment.participant.name || 'Someone'), ': ', ...text),
  );
}

$('search-form').addEventListener('submit', (e) => {
  e.preventDefault();
  const url = new URL(location.pathname, location.origin);
  for (const id of ['q', 'room']) if ($(id).value.trim()) url.searchParams.set(id, $(id).value.trim());
  history.pushState(null, '', url);
  load();
});
// The cross in the field means: all meetings again.
$('q').addEventListener('search', () => $('q').value === '' && wanted().q && $('search-form').requestSubmit());
$('more').addEventListener('click', () => load(next));
addEventListener('popstate', () => load());

load();
