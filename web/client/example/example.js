import { Verbatim } from '../verbatim.js'; // '@verbatim/client' where it is installed from npm

const said = document.getElementById('said');

const room = new Verbatim({ room: 'example', name: 'Ada' });
room.addEventListener('caption', (e) => (said.textContent = `${e.detail.participant.name}: ${e.detail.text}`));
await room.join().catch((err) => (said.textContent = err.message));
