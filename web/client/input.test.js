import test from 'node:test';
import assert from 'node:assert/strict';
import { Input } from './input.js';

// The machine's devices: those of the room that was made last.
let mediaDevices;
Object.defineProperty(globalThis, 'navigator', { value: Object.defineProperty({}, 'mediaDevices', { get: () => mediaDevices }) });

/** Microphones by id; those that are asked for are opened when the test says so. */
function room(t, options) {
  const r = { tracks: [], sent: [], errors: [], asked: [], told: [], plugged: new Set(['', 'usb']), held: [] };
  const machine = (mediaDevices = Object.assign(new EventTarget(), {
    enumerateDevices: async () => [...r.plugged].map((id) => ({ kind: 'audioinput', deviceId: id || 'built-in', label: id })).filter((d) => d.label),
  }));
  r.input = new Input({
    ...options,
    connection: () => undefined,
    onTrack: (track) => r.sent.push(track.id),
    onDevices: (devices) => r.told.push(devices.map((d) => d.id).join()),
    onLevel() {},
    onError: (err) => r.errors.push(err.code),
    async getUserMedia({ audio }) {
      const id = audio.deviceId?.exact ?? '';
      r.asked.push(id);
      if (r.hold) await new Promise((resolve) => r.held.push(resolve));
      if (!r.plugged.has(id)) throw new DOMException('Requested device not found', 'NotFoundError');
      const track = Object.assign(new EventTarget(), {
        id,
        enabled: true,
        readyState: 'live',
        stop() {
          this.readyState = 'ended';
        },
        getSettings: () => ({ deviceId: id || 'default' }),
      });
      r.tracks.push(track);
      return { getAudioTracks: () => [track] };
    },
  });
  r.unplug = async (track) => {
    r.plugged.delete(track.id);
    track.readyState = 'ended';
    track.dispatchEvent(new Event('ended'));
    machine.dispatchEvent(new Event('devicechange'));
    await new Promise((resolve) => setImmediate(resolve));
  };
  r.plug = async (id) => {
    r.plugged.add(id);
    machine.dispatchEvent(new Event('devicechange'));
    await new Promise((resolve) => setImmediate(resolve));
  };
  t.after(() => r.input.stop());
  return r;
}

test('another microphone is taken while it runs, muted as the one before', async (t) => {
  const r = room(t, { muted: true });
  assert.equal(r.input.deviceId, '');
  await r.input.open();
  await r.input.choose('usb');
  assert.deepEqual([r.sent, r.input.deviceId], [['', 'usb'], 'usb']);
  assert.deepEqual(r.tracks.map((k) => [k.readyState, k.enabled]), [['ended', false], ['live', false]]);
  r.input.mute(false);
  assert.equal(r.tracks[1].enabled, true);
  r.input.stop();
  assert.deepEqual([r.tracks[1].readyState, r.input.deviceId, r.errors], ['ended', '', []]);
});

test('a microphone that does not open leaves the present one', async (t) => {
  const r = room(t);
  await r.input.open();
  await assert.rejects(r.input.choose('gone'), { code: 'no-microphone' });
  assert.deepEqual([r.tracks[0].readyState, r.sent, r.errors], ['live', [''], ['no-microphone']]);
});

test('the chosen microphone is unplugged: the default takes its place', async (t) => {
  const r = room(t, { deviceId: 'usb' });
  await r.input.open();
  await r.unplug(r.tracks[0]);
  assert.deepEqual([r.sent, r.errors], [['usb', ''], ['microphone-lost']]);
  await r.unplug(r.tracks[1]); // the last one
  assert.deepEqual(r.errors, ['microphone-lost', 'microphone-lost', 'no-microphone']);
  r.tracks[0].dispatchEvent(new Event('ended')); // of old
  assert.equal(r.errors.length, 3);
});

test('the chosen microphone is plugged in again: it is used again, and that is told', async (t) => {
  const r = room(t, { deviceId: 'usb' });
  await r.input.open();
  await r.unplug(r.tracks[0]);
  assert.equal(r.told.at(-1), '');
  await r.plug('other'); // nobody asked for it
  assert.deepEqual([r.sent, r.told.at(-1)], [['usb', ''], 'other']);
  await r.plug('usb');
  assert.deepEqual([r.sent, r.input.deviceId, r.told.at(-1)], [['usb', '', 'usb'], 'usb', 'other,usb']);
  assert.deepEqual(r.tracks.map((k) => k.readyState), ['ended', 'ended', 'live']);

  await r.unplug(r.tracks[2]);
  await r.input.choose('other'); // what was chosen before is of no interest any more
  await r.plug('usb');
  assert.equal(r.input.deviceId, 'other');
  assert.deepEqual(r.errors, ['microphone-lost', 'microphone-lost']);
});

test('the only microphone is plugged in again, or another one first', async (t) => {
  for (const first of ['usb', 'other']) {
    const r = room(t, { deviceId: 'usb' });
    r.plugged.delete('');
    await r.input.open();
    await r.unplug(r.tracks[0]);
    assert.deepEqual([r.sent, r.errors], [['usb'], ['microphone-lost', 'no-microphone']]);
    if (first === 'other') {
      r.plugged.add('');
      await r.plug('other');
      assert.deepEqual(r.sent, ['usb', '']);
    }
    await r.plug('usb');
    assert.equal(r.sent.at(-1), 'usb');
    assert.equal(r.errors.length, 2);
  }
});

test('one that was chosen another day is not there: the default, until it is', async (t) => {
  const r = room(t, { deviceId: 'headset' });
  await r.input.open();
  assert.deepEqual([r.sent, r.errors], [[''], []]);
  r.input.stop();
  await r.input.open(); // joined again
  assert.deepEqual(r.asked, ['headset', '', 'headset', '']);
  await r.plug('headset');
  assert.deepEqual([r.sent.at(-1), r.input.deviceId], ['headset', 'headset']);

  const none = room(t, { deviceId: 'headset' });
  none.plugged.clear();
  await assert.rejects(none.input.open(), { code: 'no-microphone' });
});

test('of two choices the last one made wins, whichever opens first', async (t) => {
  const r = room(t);
  await r.input.open();
  r.hold = true;
  const choices = [r.input.choose('usb'), r.input.choose('')];
  r.held[1]();
  await choices[1];
  r.held[0]();
  await choices[0];
  assert.deepEqual(r.sent, ['', '']);
  assert.deepEqual(r.tracks.map((k) => k.readyState), ['ended', 'live', 'ended']);
});

test('stopped or changed while the permission is asked for', async (t) => {
  const r = room(t);
  r.hold = true;
  const opening = r.input.open();
  r.input.stop();
  r.held[0]();
  await opening;
  assert.deepEqual([r.sent, r.tracks[0].readyState], [[], 'ended']);

  const again = r.input.open();
  await r.input.choose('usb');
  r.hold = false;
  r.held[1]();
  await again;
  assert.deepEqual([r.sent, r.input.deviceId], [['', 'usb'], 'usb']);
});
