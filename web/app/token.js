/** The tab's token: what it says, and a dialog that asks for one. */

import { el } from './dom.js';
import { tab, takeToken } from './identity.js';

export const token = takeToken();

/**
 * What the token says of who somebody is, unverified: for forms.
 * @returns {{name: string, room: string}} "" where it says nothing
 */
export function tokenSays() {
  try {
    const text = atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'));
    const claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (c) => c.charCodeAt(0))));
    const room = typeof claims.room === 'string' && claims.room !== '*' ? claims.room : '';
    return { name: String(claims.name ?? claims.participant ?? ''), room };
  } catch {
    return { name: '', room: '' };
  }
}

/** What a page says where there is nothing to show without a token. */
export const uninvited = 'This server is for people with an invitation.';

let asking = false;

/**
 * Asks for a token if that is what the server wants.
 * @param {any} err a VerbatimError
 * @returns {boolean} whether it is
 */
export function askForToken(err) {
  if (err.code !== 'unauthorized') return false;
  if (asking) return true;
  asking = true;
  const input = el('input', { id: 'token', type: 'text', required: true, autocomplete: 'off', spellcheck: false });
  const form = el(
    'form',
    { method: 'dialog' },
    el('h2', { id: 'token-title' }, token ? 'Your invitation does not count any more' : 'Who are you?'),
    el('p', {}, `${uninvited} Paste the link or the token that you were given.`),
    el('label', { htmlFor: 'token' }, 'Link or token'),
    input,
    el('div', { className: 'actions' }, el('button', { type: 'button', onclick: () => dialog.close() }, 'Not now'), el('button', { className: 'primary', value: 'go' }, 'Go on')),
  );
  const dialog = el('dialog', { data: { testid: 'token-dialog' } }, form);
  dialog.setAttribute('aria-labelledby', 'token-title');
  dialog.addEventListener('close', () => {
    asking = false;
    const given = dialog.returnValue === 'go' ? input.value.trim() : '';
    dialog.remove();
    if (!given) return;
    tab.set('token', given.split('token=').at(-1));
    location.reload();
  });
  document.body.append(dialog);
  dialog.showModal();
  return true;
}
