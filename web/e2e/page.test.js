// The page itself: accessible, usable by keyboard, and quiet while one reads back.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { captions, chromium, enter, open, shot, state, text, until } from './browsers.js';
import { Server } from './server.js';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const started = '2026-01-05T09:00:00Z';
let server, browser;

before(async () => {
  server = await Server.start('page');
  browser = await chromium();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const people = ['Ada', 'Grace', 'Edsger', 'Barbara', 'Alan', 'Radia', 'Donald', 'Frances', 'Ken'];

function segment(n, more = {}) {
  const who = people[n % people.length];
  return {
    id: `01TRACK${n % people.length}.${Math.floor(n / people.length)}`,
    meeting: '01MEETING',
    track: `01TRACK${n % people.length}`,
    participant: { id: who.toLowerCase(), name: who },
    start_ms: n * 4_000,
    end_ms: n * 4_000 + 3_000,
    text: `This is what ${who} said as number ${n}, long enough to take more than one line on a telephone.`,
    final: true,
    revision: 9,
    engine: 'test',
    ...more,
  };
}

const coverage = {
  duration_ms: 192_000,
  received_ms: 180_000,
  recovered_ms: 4_000,
  concealed_ms: 1_200,
  silence_ms: 6_800,
  discontinuity_ms: 0,
  shed_ms: 0,
  transcribed_ms: 190_000,
  pending_ms: 0,
  skipped_ms: 2_000,
};

const meeting = {
  id: '01MEETING',
  room: 'daily',
  state: 'live',
  started_at: started,
  ended_at: null,
  participants: people.map((name, i) => ({ id: name.toLowerCase(), name, joined_at: started, left_at: i === 3 ? started : null })),
  tracks: people.map((name, i) => ({ id: `01TRACK${i}`, participant: name.toLowerCase(), state: 'live', coverage })),
  coverage,
};

const missing = (n, more = {}) => ({
  track: `01TRACK${n % people.length}`,
  start_ms: 10_000 * n + 100,
  end_ms: 10_000 * n + 2_400,
  missing_ms: 60 * (n + 1),
  kind: 'concealed',
  reason: 'lost on the way',
  ...more,
});

const transcript = {
  meeting,
  segments: [],
  complete: false,
  missing: [
    ...Array.from({ length: 24 }, (_, n) => missing(n)),
    missing(24, { kind: 'skipped', reason: 'not transcribed: the engine refused this stretch five times, whatever came before and after it' }),
  ],
};

/** The meeting, with what becomes of the first tracks. */
const transcribed = (...tracks) => ({
  ...meeting,
  coverage: { ...coverage, pending_ms: tracks.reduce((ms, [, pending = 0]) => ms + pending, 0) },
  tracks: meeting.tracks.map((t, i) => {
    const [state, pending = 0] = tracks[i] ?? ['idle'];
    return { ...t, coverage: { ...t.coverage, pending_ms: pending }, transcription: { state, engine: 'vosk', retries: 0, since: started } };
  }),
});

const sse = (event, data, id) => `${id ? `id: ${id}\n` : ''}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;

/**
 * The event stream says what the test wants: answers[0] first, then answers[1]
 * after a reconnect, … One that is an array of one text may change.
 */
async function scripted(page, ...answers) {
  await page.setRequestInterception(true);
  page.streams = [];
  page.asked = 0;
  page.on('request', (r) => {
    if (r.url().endsWith('/transcript.json')) {
      page.asked++;
      return r.respond({ status: 200, contentType: 'application/json', body: JSON.stringify(page.transcript ?? transcript) });
    }
    if (!r.url().endsWith('/events')) return r.continue();
    page.streams.push(r.headers());
    const body = String(answers[Math.min(page.streams.length, answers.length) - 1]);
    return r.respond({ status: 200, contentType: 'text/event-stream', body });
  });
}

function conversation(count, from = 0) {
  let s = sse('state', { room: 'daily', meeting });
  for (let n = from; n < count; n++) s += sse('caption', segment(n), `01MEETING.${n + 1}`);
  return s;
}

async function violations(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  return violations.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`).join('; ')}`);
}

for (const scheme of ['light', 'dark']) {
  for (const [device, viewport] of [['phone', { width: 360, height: 740 }], ['desk', { width: 1280, height: 800 }]]) {
    test(`accessible: ${device}, ${scheme}`, async () => {
      const page = await open(browser, server.url, 'daily');
      await page.setViewport(viewport);
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }, { name: 'prefers-reduced-motion', value: 'reduce' }]);
      const good = async (name) => {
        await shot(page, `${name}-${device}-${scheme}`);
        assert.deepEqual(await violations(page), [], name);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wide <= 0, `${name} is ${wide} px too wide`);
      };
      const ended = sse('ended', { meeting: '01MEETING', state: 'incomplete' });
      await scripted(page, conversation(12) + sse('caption', segment(12, { final: false, text: 'and this is still being' })), conversation(12) + ended);
      await page.goto(`${server.url}?room=Bad`);
      await good('lobby');
      await page.goto(page.address);
      await page.locator('[data-testid="listen"]').click();
      await until(async () => (await captions(page)).length === 13, 'the captions');
      await good('meeting');
      if (device === 'phone') await page.click('#panel-toggle');
      await page.click('#coverage-details > summary');
      await good('details');
      await until(() => page.$eval('#after', (n) => !n.hidden), 'the end');
      if (device === 'phone') await page.click('#panel-toggle');
      assert.match(await text(page, 'after-text'), /not complete/);
      await good('after');
      await page.close();
    });

    test(`the recognizer, and what is missing: ${device}, ${scheme}`, async () => {
      const page = await open(browser, server.url, 'daily');
      await page.setViewport(viewport);
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }, { name: 'prefers-reduced-motion', value: 'reduce' }]);
      const body = [''];
      const becomes = (...tracks) => (body[0] = conversation(12).replace(JSON.stringify(meeting), JSON.stringify(transcribed(...tracks))));
      becomes(['circuit_open', 80_000], ['retrying', 12_000]);
      await scripted(page, body);
      const says = (words) => until(async () => words.test(await text(page, 'recognizer')), `the words ${words}`);
      const look = async (name) => {
        await shot(page, `recognizer-${name}-${device}-${scheme}`);
        assert.deepEqual(await violations(page), [], name);
        assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)) <= 0, `${name} is too wide`);
      };
      await page.goto(page.address);
      await page.locator('[data-testid="listen"]').click();
      await says(/^The recognizer cannot be reached for Ada and Grace; everything is kept/);
      await look('away');
      becomes(['catching_up', 80_000], ['fallback', 40_000]);
      await says(/^Catching up with Ada: 1:20 behind$/);
      await look('behind');

      if (device === 'phone') await page.click('#panel-toggle');
      const of = async (who) => page.$eval(`[data-participant="${who}"]`, (n) => n.textContent);
      assert.match(await of('ada'), /catching up, 1:20 behind/);
      assert.match(await of('grace'), /by the fallback \(vosk\), 40 s behind/);
      assert.equal(page.asked, 0, 'nobody wants to know yet');
      await page.focus('#missing > summary');
      await page.keyboard.press('Enter');
      await until(async () => (await page.$$('[data-testid="missing-place"]')).length === 20, 'the places');
      assert.match(await text(page, 'missing-sum'), /^20 s in 25 places \(as of /);
      assert.equal(await text(page, 'missing-more'), 'and 5 more');
      assert.equal(await page.$eval('[data-testid="missing-place"]', (n) => [...n.children].map((c) => c.textContent).join('|')), 'Ada|0:00–0:02|0.1 s|lost on the way');
      await look('missing');
      assert.equal(page.asked, 1);

      page.transcript = { ...transcript, missing: [missing(24, { kind: 'skipped', reason: 'not transcribed: the engine refused this stretch five times, whatever came before and after it' })] };
      body[0] += sse('ended', { meeting: '01MEETING', state: 'incomplete' });
      await until(async () => /^1\.5 s in one place$/.test(await text(page, 'missing-sum')), 'the last word on what is missing');
      await look('missing-in-the-end');
      await page.close();
    });
  }
}

test('speakers keep their colours, and the first eight are all different', async () => {
  const page = await open(browser, server.url, 'daily');
  await scripted(page, conversation(20));
  await page.goto(page.address);
  await page.locator('[data-testid="listen"]').click();
  await until(async () => (await captions(page)).length === 20, 'the captions');
  const colors = await page.$$eval('[data-testid="caption"]', (l) => l.map((li) => [li.dataset.speaker, getComputedStyle(li.querySelector('.name')).color]));
  const of = new Map(colors);
  for (const [who, color] of colors) assert.equal(of.get(who), color);
  assert.equal(new Set(people.slice(0, 8).map((p) => of.get(p))).size, 8);
  await page.close();
});

test('reading back: the page stays where one reads, and a button leads to the end', async () => {
  const page = await open(browser, server.url, 'daily');
  const late = sse('caption', segment(40, { final: false, text: 'one moment' })) + sse('caption', segment(40), '01MEETING.41');
  const body = [conversation(40)];
  await scripted(page, body);
  await page.goto(page.address);
  await page.locator('[data-testid="listen"]').click();
  await until(async () => (await captions(page)).length === 40, 'the captions');
  const place = () => page.$eval('#scroller', (n) => ({ top: n.scrollTop, rest: n.scrollHeight - n.scrollTop - n.clientHeight }));
  await until(async () => (await place()).rest < 2, 'the end of the list');
  await page.$eval('#scroller', (n) => n.scrollTo(0, 100));
  await until(() => page.$eval('#jump', (n) => !n.hidden), 'the button');
  body[0] += late + sse('caption', segment(40, { final: false, revision: 99, text: 'too late' }));
  await until(async () => (await captions(page)).length === 41, 'one more');
  assert.equal((await place()).top, 100);
  assert.equal(await text(page, 'jump'), '1 new · jump to latest');
  assert.equal((await captions(page)).at(-1).text, segment(40).text);
  assert.equal(page.streams[1]['last-event-id'], '01MEETING.40');
  await page.click('#jump');
  await until(async () => (await place()).rest < 2, 'the end of the list');
  assert.ok(await page.$eval('#jump', (n) => n.hidden));
  await page.close();
});

test('screen readers hear finals, and not all of them at once after a replay', async () => {
  const page = await open(browser, server.url, 'daily');
  const said = sse('caption', segment(30, { final: false, text: 'not yet' })) + sse('caption', segment(31));
  const nothing = conversation(30, 30);
  await scripted(page, conversation(30), nothing, nothing, nothing + said);
  await page.goto(page.address);
  await page.locator('[data-testid="listen"]').click();
  await until(async () => (await text(page, 'announcer')) === '30 captions that came before', 'a summary');
  await until(async () => (await text(page, 'announcer')) === `Alan: ${segment(31).text}`, 'one final');
  await page.close();
});

test('with the keyboard alone: join, mute, leave', async () => {
  const page = await open(browser, server.url, 'keys');
  await page.goto(page.address);
  await page.focus('#name');
  await page.keyboard.type('M. Mute'); // an M that is typed mutes nothing
  const reach = async (id) => {
    for (let i = 0; i < 20; i++) {
      if (await page.evaluate((want) => document.activeElement.id === want, id)) {
        const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
        assert.notEqual(outline, 'none', `the focus on ${id} cannot be seen`);
        return;
      }
      await page.keyboard.press('Tab');
    }
    assert.fail(`${id} cannot be reached`);
  };
  await reach('join');
  await page.keyboard.press('Enter');
  await state(page, 'connected');
  assert.equal(await text(page, 'state'), 'Live');
  await page.keyboard.press('m');
  assert.equal(await text(page, 'state'), 'Muted');
  await until(async () => (await page.title()).startsWith('Muted'), 'the title');
  await reach('mute');
  await page.keyboard.press('Space');
  assert.equal(await text(page, 'state'), 'Live');
  await reach('leave');
  await page.keyboard.press('Enter');
  await state(page, 'left');
  await until(() => page.evaluate(() => document.activeElement.id === 'rejoin'), 'the focus to be where one comes back');
  await page.keyboard.press('Enter');
  await state(page, 'connected');
  await until(() => page.$eval('#level', (n) => n.value > 0), 'the level to move');
  await page.close();
});

test('two tabs are two people, even if one is a copy of the other', async () => {
  const first = await open(browser, server.url, 'tabs');
  await enter(first, 'Ada');
  await state(first, 'connected');
  const id = await first.evaluate(() => sessionStorage.getItem('verbatim.participant'));
  const copy = await open(browser, server.url, 'tabs');
  await copy.evaluateOnNewDocument((id) => sessionStorage.setItem('verbatim.participant', sessionStorage.getItem('verbatim.participant') ?? id), id);
  await enter(copy, 'Ada');
  await state(copy, 'connected');
  await until(async () => (await first.$$('[data-testid="person"]')).length === 2, 'two people');
  await first.close();
  await copy.close();
});
