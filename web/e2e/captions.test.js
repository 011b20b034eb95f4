// Two people in two browsers talk, and both read what both said.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { captions, chromium, enter, firefox, hear, open, shot, slow, state, text, until } from './browsers.js';
import { Server, artifacts } from './server.js';
import { recall, recording, wordsIn, wordsOf } from './speech.js';

const latencyMs = 1_500 * slow;
// PocketSphinx gets this much of this reader's words right, at the least.
const enough = 0.5;

const adaSays = recordingOf('sas-0870');
const graceSays = recordingOf('sas-0890');
let server, chrome, fox, ada, grace;

function recordingOf(name) {
  return { name, words: wordsOf(name), ...recording([name], { pause: 4_000 }) };
}

before(async () => {
  server = await Server.start('captions', '--linger', '30s');
  chrome = await chromium({ wav: adaSays.path });
  fox = await firefox();
  ada = await open(chrome, server.url, 'daily');
  grace = await open(fox, server.url, 'daily');
  await hear(grace, graceSays);
  await enter(ada, 'Ada');
  await enter(grace, 'Grace');
});

after(async () => {
  await chrome?.close();
  await fox?.close();
  await server?.stop();
});

const finalsOf = async (page, speaker) => (await captions(page)).filter((c) => c.final && c.speaker === speaker);
const textOf = (list) => list.map((c) => c.text).join(' ');

/** Waits until this much of what was said stands under the speaker's name, settled. */
function said(page, speaker, speech) {
  return until(
    async () => {
      const list = await finalsOf(page, speaker);
      return recall(speech.words, textOf(list)) >= enough && list;
    },
    `${speaker}’s words`,
  );
}

test('both are live, and each sees both in the room', async () => {
  for (const page of [ada, grace]) {
    await state(page, 'connected');
    assert.equal(await text(page, 'state'), 'Live');
    await until(async () => (await page.$$('[data-testid="person"]')).length === 2, 'two people in the room');
    assert.match(await page.title(), /^Live · daily/);
  }
  // While a recognizer is behind, that stands there, too.
  await until(async () => (await ada.$$eval('[data-testid="person"]', (l) => l.map((n) => n.textContent).join())) === 'Adayou,Grace', 'Ada and Grace');
});

test('each one’s words stand under their own name, in both browsers', async () => {
  for (const page of [ada, grace]) {
    const fromAda = textOf(await said(page, 'Ada', adaSays));
    const fromGrace = textOf(await said(page, 'Grace', graceSays));
    assert.ok(recall(graceSays.words, fromAda) < enough, `Grace’s words under Ada’s name: ${fromAda}`);
    assert.ok(recall(adaSays.words, fromGrace) < enough, `Ada’s words under Grace’s name: ${fromGrace}`);
  }
  await shot(ada, 'captions-chromium');
  await shot(grace, 'captions-firefox');
});

for (const [name, browser, page, speech] of [
  ['Ada', 'Chromium', () => ada, adaSays],
  ['Grace', 'Firefox', () => grace, graceSays],
]) {
  test(`${name} (${browser}): interims come while the sentence is spoken, the final soon after it`, async (t) => {
    const round = speech.seconds * 1000;
    const { from, to } = speech.spans[0];
    const began = await page().evaluate(() => window.microphoneAt);
    const own = async () => (await page().evaluate(() => window.seen)).filter((s) => s.speaker === name);
    // In the first round the recognizer is still starting; what counts for a
    // conversation is the second.
    const spoken = began + round;
    await until(async () => (await own()).some((s) => s.final && s.at > spoken + to), 'the second round', 2 * round);
    const seen = await own();
    const delays = (start) => {
      // The first word has to be spoken before it can be recognized: half a second.
      const interim = seen.find((s) => !s.final && s.at > start + from)?.at - (start + from + 500);
      const final = seen.findLast((s) => s.final && s.at < start + round + from)?.at - (start + to);
      const between = seen.filter((s) => !s.final && s.at > start + from && s.at < start + to).length;
      return { interim: Math.round(interim), final: Math.round(final), between };
    };
    t.diagnostic(`first round ${JSON.stringify(delays(began))}, second ${JSON.stringify(delays(spoken))}`);
    const { interim, final, between } = delays(spoken);
    assert.ok(interim < latencyMs, `the first interim came ${interim} ms after the first word`);
    assert.ok(final < latencyMs, `the final came ${final} ms after the sentence`);
    assert.ok(between >= 2, 'interims do not grow while the sentence is spoken');
  });
}

test('no caption is doubled, and both pages agree', async () => {
  for (const page of [ada, grace]) {
    const ids = (await captions(page)).map((c) => c.id);
    assert.equal(new Set(ids).size, ids.length);
    const seen = await page.evaluate(() => window.seen);
    const settled = new Set();
    for (const s of seen) {
      if (settled.has(s.id)) assert.ok(s.final, `a final went back to an interim: ${s.text}`);
      if (s.final) settled.add(s.id);
    }
  }
  await until(async () => {
    const [a, g] = await Promise.all([captions(ada), captions(grace)]);
    const finals = (l) => JSON.stringify(l.filter((c) => c.final));
    return finals(a) === finals(g);
  }, 'the same finals in both browsers');
});

test('the M key mutes, and muted words are not heard', async () => {
  await ada.bringToFront();
  await ada.focus('#scroller');
  await ada.keyboard.press('m');
  assert.equal(await text(ada, 'state'), 'Muted');
  assert.equal(await text(ada, 'mute'), 'Unmute');
  // What was begun before is still finished; after that there is silence.
  await new Promise((r) => setTimeout(r, 3_000 * slow));
  const before = (await captions(ada)).filter((c) => c.speaker === 'Ada').length;
  await new Promise((r) => setTimeout(r, adaSays.seconds * 1000));
  const later = (await captions(ada)).filter((c) => c.speaker === 'Ada').length;
  assert.equal(later, before, 'words came through while muted');
  await ada.keyboard.press('m');
  assert.equal(await text(ada, 'state'), 'Live');
});

test('a reload comes back into the meeting, as the same person, with all captions', async () => {
  const before = (await captions(ada)).filter((c) => c.final);
  await ada.reload();
  await state(ada, 'connected');
  await until(async () => {
    const ids = new Set((await captions(ada)).map((c) => c.id));
    return before.every((c) => ids.has(c.id));
  }, 'the captions from before');
  await until(async () => (await ada.$$('[data-testid="person"]')).length === 2, 'two people, not three');
});

for (const signal of ['SIGKILL', 'SIGTERM']) {
  test(`after a restart (${signal}) of the server both come back and nothing is gone`, async () => {
    const kept = (await captions(grace)).filter((c) => c.final);
    await server.down(signal);
    await state(ada, 'reconnecting');
    await state(grace, 'reconnecting');
    await until(async () => /does not answer|was lost|shutting down/.test(await text(ada, 'notice')), 'the reason');
    await shot(ada, `reconnecting-${signal}`);
    await server.up();
    await state(ada, 'connected');
    await state(grace, 'connected');
    const now = await captions(grace);
    for (const c of kept) assert.ok(now.some((n) => n.id === c.id && n.text === c.text), `gone: ${c.text}`);
    const count = now.filter((c) => c.speaker === 'Grace' && c.final).length;
    await until(async () => (await finalsOf(grace, 'Grace')).length > count, 'new words after the restart');
    const ids = (await captions(grace)).map((c) => c.id);
    assert.equal(new Set(ids).size, ids.length);
  });
}

test('leaving: the captions stay, the other one sees it, the transcript can be downloaded', async () => {
  await ada.bringToFront();
  await ada.click('[data-testid="leave"]');
  await state(ada, 'left');
  assert.match(await text(ada, 'after-text'), /You have left/);
  await until(() => grace.$$eval('[data-testid="person"]', (l) => l.some((n) => n.textContent.includes('Ada') && n.dataset.present === 'false')), 'Ada to be gone');
  const finals = (await captions(ada)).filter((c) => c.final);
  assert.ok(finals.length > 0);
  for (const format of ['json', 'vtt', 'srt', 'txt']) {
    const body = await ada.$eval(`[data-testid="downloads"] [data-format="${format}"]`, async (a) => {
      const res = await fetch(a.href);
      return res.ok ? res.text() : `status ${res.status}`;
    });
    // By words: subtitles break a sentence into cues.
    for (const c of finals.slice(0, 3)) assert.equal(recall(wordsIn(c.text), body), 1, `${format} lacks “${c.text}”: ${body.slice(0, 300)}`);
  }
});

test('a click on a download gives a file', async () => {
  const folder = join(artifacts, 'downloads');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  const cdp = await chrome.target().createCDPSession();
  await cdp.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: folder });
  await ada.click('#after [data-format="txt"]');
  const file = await until(() => readdirSync(folder).find((f) => f.endsWith('.txt') && statSync(join(folder, f)).size > 0), 'the file');
  assert.match(readFileSync(join(folder, file), 'utf8'), /Ada/);
});

test('the meeting’s end is told, and the transcript is complete', async () => {
  await grace.bringToFront();
  const meeting = await grace.$eval('[data-testid="downloads"] [data-format="json"]', (a) => a.href.match(/meetings\/([^/]+)/)[1]);
  await server.json(`/v1/meetings/${meeting}/end`, { method: 'POST' });
  for (const page of [ada, grace]) {
    await until(async () => /The transcript is (not )?complete/.test(await text(page, 'after-text')), 'the end');
    assert.match(await text(page, 'after-text'), /The transcript is complete/);
    assert.match(await text(page, 'coverage'), /heard/);
  }
  await state(grace, 'left');
  await shot(grace, 'ended');
  const doc = await server.json(`/v1/meetings/${meeting}/transcript.json`);
  assert.equal(doc.complete, true);
  const shown = (await captions(grace)).filter((c) => c.final).map((c) => c.id);
  assert.deepEqual(shown.toSorted(), doc.segments.map((s) => s.id).toSorted());
});

test('the browsers had nothing to complain about', () => {
  // Firefox reports requests that a restarted server cut off as errors of the page.
  const real = (page) => page.complaints.filter((c) => !/NetworkError|Failed to fetch|ERR_/.test(c));
  assert.deepEqual([...real(ada), ...real(grace)], []);
});
