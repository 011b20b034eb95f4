/** What the page remembers: the name for good, the rest as long as the tab. */

import { validRoom } from '../client/verbatim.js';

// Storage throws where the browser forbids it; the page works without.
function storage(kind) {
  return {
    get(key) {
      try {
        return globalThis[kind].getItem(`verbatim.${key}`) ?? '';
      } catch {
        return '';
      }
    },
    set(key, value) {
      try {
        globalThis[kind].setItem(`verbatim.${key}`, value);
      } catch {
        // Not remembered, then.
      }
    },
  };
}

export const forever = storage('localStorage');
export const tab = storage('sessionStorage');

/** The room in the page's address: {room, bad}. */
export function roomFromAddress() {
  const room = new URLSearchParams(location.search).get('room') ?? '';
  return { room, bad: room !== '' && !validRoom(room) };
}

/** Puts the room into the address, so that it can be passed on. */
export function roomToAddress(room) {
  const url = new URL(location.href);
  url.searchParams.set('room', room);
  history.replaceState(null, '', url);
}

/**
 * A token that came in the address's fragment (#token=…), which browsers send
 * to no server; it is kept by the tab and taken out of the address.
 */
export function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given) {
    tab.set('token', given);
    history.replaceState(null, '', location.pathname + location.search);
  }
  return tab.get('token');
}

/**
 * This tab's participant id. Duplicating a tab copies its sessionStorage, and
 * two tabs with one id would take the session from each other in turns: the
 * one that finds the id in use gets another.
 * @returns {Promise<string>} "" for a new one
 */
export async function takeParticipant() {
  const id = tab.get('participant');
  if (!id || !navigator.locks) return id;
  return (await hold(id)) ? id : '';
}

/** Keeps the id for this tab, until it goes away. */
export async function keepParticipant(id) {
  tab.set('participant', id);
  if (navigator.locks) await hold(id);
}

const held = new Set();

function hold(id) {
  if (held.has(id)) return Promise.resolve(true);
  return new Promise((resolve) => {
    navigator.locks
      .request(`verbatim.participant.${id}`, { ifAvailable: true }, (lock) => {
        resolve(Boolean(lock));
        if (!lock) return undefined;
        held.add(id);
        return new Promise(() => {}); // held as long as the tab is there
      })
      .catch(() => resolve(true));
  });
}

/** Whether this is a reload of a tab that was in this room: it goes on as it was. */
export function wasIn(room) {
  const [navigation] = performance.getEntriesByType('navigation');
  return navigation?.type === 'reload' && tab.get('in') === room && room !== '' ? tab.get('as') : '';
}
