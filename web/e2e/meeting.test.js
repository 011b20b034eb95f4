// Three people in two browsers meet; afterwards the page of their meeting says
// who was there, what was said and when, and what it was like.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { captions, chromium, enter, firefox, hear, open, shot, slow, state, text, until } from './browsers.js';
import { compare } from './compare.js';
import { Server, artifacts } from './server.js';
import { common, recall, recording, timedWords, voice, wavSamples, wordsOf } from './speech.js';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
// Words may be so far from where they were spoken.
const nearMs = 300;
// PocketSphinx gets this much of this reader's words right, at the least.
const enough = 0.5;

// Ada and Grace overlap; Edsger speaks when both are done.
const people = [
  { name: 'Ada', says: 'sas-0870', lead: 3_000 },
  { name: 'Grace', says: 'sas-0890', lead: 5_000 },
  { name: 'Edsger <b>', says: 'sas-0880', lead: 14_000 },
].map((p) => ({ ...p, words: wordsOf(p.says), recording: recording([p.says], { lead: p.lead, pause: 60_000 }) }));

let server, talking, meeting, doc;
const browsers = {};

before(async () => {
  server = await Server.start('meeting', '--linger', '1s');
  const [ada, grace, edsger] = people;
  talking = await Promise.all([chromium({ wav: ada.recording.path }), firefox(), chromium({ wav: edsger.recording.path })]);
  for (const [i, p] of people.entries()) p.page = await open(talking[i], server.url, 'daily');
  await hear(grace.page, grace.recording);
  await Promise.all(people.map((p) => enter(p.page, p.name)));
  for (const p of people) await state(p.page, 'connected');
  for (const p of people) {
    await until(async () => {
      const said = (await captions(ada.page)).filter((c) => c.final && c.speaker === p.name);
      return recall(p.words, said.map((c) => c.text).join(' ')) >= enough;
    }, `${p.name}’s words`, 60_000);
  }
  meeting = await ada.page.$eval('[data-testid="downloads"] [data-format="json"]', (a) => a.href.match(/meetings\/([^/]+)/)[1]);
  for (const p of people) {
    await p.page.bringToFront();
    await p.page.click('[data-testid="leave"]');
  }
  // The way to the page is a link in the room.
  const link = await until(() => ada.page.$eval('[data-testid="after-page"]', (a) => !a.hidden && a.getAttribute('href')), 'the link');
  assert.equal(link, `/meetings/${meeting}`);
  await until(async () => (await server.json(`v1/meetings/${meeting}`)).recorded_at, 'the recording');
  doc = await server.json(`v1/meetings/${meeting}/transcript.json`);
  await Promise.all(talking.map((b) => b.close()));
  talking = undefined;
  [browsers.chromium, browsers.firefox] = await Promise.all([chromium(), firefox()]);
});

after(async () => {
  await Promise.all([...(talking ?? []), ...Object.values(browsers)].map((b) => b.close()));
  await server?.stop();
});

async function visit(browser, path, { width = 1280, height = 860 } = {}, theme) {
  const page = await browser.newPage();
  page.complaints = [];
  page.on('pageerror', (e) => page.complaints.push(e.message));
  await page.setViewport({ width, height });
  if (theme) await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: theme }]);
  await page.goto(new URL(path, server.url).href);
  return page;
}

async function afterwards(browser, hash = '') {
  const page = await visit(browser, `/meetings/${meeting}${hash}`);
  await until(async () => (await page.$$('[data-testid="segment"]')).length === doc.segments.length, 'the transcript');
  await until(() => page.$eval('[data-testid="audio"]', (a) => a.readyState > 0), 'the recording');
  return page;
}

const near = (got, want, what) => assert.ok(Math.abs(got - want) <= nearMs, `${what}: ${Math.round(got)} ms, not ${Math.round(want)}`);

for (const name of ['chromium', 'firefox']) {
  describe(name, () => {
    let page;
    before(async () => {
      page = await afterwards(browsers[name]);
    });
    after(() => page?.close());

    test('the right people, each with a line and a colour of their own', async () => {
      const lanes = await page.$$eval('[data-testid="lane"]', (l) =>
        l.map((li) => ({ name: li.querySelector('.name').textContent, spans: Number(li.dataset.spans), color: li.querySelector('svg').dataset.color })),
      );
      assert.deepEqual(lanes.map((l) => l.name).toSorted(), people.map((p) => p.name).toSorted());
      assert.ok(lanes.every((l) => l.spans > 0), JSON.stringify(lanes));
      assert.equal(new Set(lanes.map((l) => l.color)).size, 3);
    });

    test('the words stand under the right names', async () => {
      const segments = await page.$$eval('[data-testid="segment"]', (l) => l.map((li) => ({ speaker: li.dataset.speaker, text: li.querySelector('.words').textContent })));
      for (const p of people) {
        const said = segments.filter((s) => s.speaker === p.name).map((s) => s.text).join(' ');
        assert.ok(recall(p.words, said) >= enough, `${p.name}: ${said}`);
        for (const other of people) if (other !== p) assert.ok(recall(other.words, said) < enough, `${other.name}’s words under ${p.name}: ${said}`);
      }
    });

    test('the charts are drawn, and say in words what they show', async () => {
      // The meeting is too short for a balance over time.
      for (const id of ['share', 'participation']) {
        const chart = await page.$eval(`[data-testid="${id}"] canvas`, (c) => {
          const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
          const colors = new Set();
          for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) colors.add(`${data[i]},${data[i + 1]},${data[i + 2]}`);
          return { label: c.getAttribute('aria-label'), colors: [...colors] };
        });
        assert.ok(chart.colors.length > 1, `${id} is empty`);
        for (const p of people) assert.ok(id !== 'share' || chart.label.includes(p.name), chart.label);
        const drawn = await page.evaluate(() => [0, 1, 2].map((n) => getComputedStyle(document.documentElement).getPropertyValue(`--speaker-${n}`).match(/\w\w/g).map((h) => parseInt(h, 16)).join(',')));
        for (const c of drawn) assert.ok(chart.colors.includes(c), `${id} lacks the colour ${c} of a speaker`);
      }
      const stats = await server.json(`v1/meetings/${meeting}/stats`);
      const shown = await page.$$eval('[data-testid="speakers"] thead th', (l) => l.map((n) => n.textContent));
      assert.deepEqual(shown, stats.participants.map((p) => p.name));
      const shares = await page.$$eval('[data-testid="speakers"] tbody tr:nth-child(2) td', (l) => l.map((n) => parseInt(n.textContent, 10)));
      assert.deepEqual(shares, stats.participants.map((p) => Math.round(100 * p.share)));
    });

    test('a click on the time plays from there, and the transcript follows word by word', async () => {
      const last = doc.segments.at(-1);
      // By the time that somebody asks where it is, it has gone on.
      await page.$eval('[data-testid="audio"]', (a) => a.addEventListener('seeked', () => (a.dataset.from = 1000 * a.currentTime), { once: true }));
      await page.$eval(`[data-id="${last.id}"] .at`, (a) => a.click());
      const from = await until(() => page.$eval('[data-testid="audio"]', (a) => a.dataset.from), 'the jump');
      near(Number(from), last.start_ms, 'the audio plays from');
      await until(() => page.$eval(`[data-id="${last.id}"]`, (li) => {
        const marked = li.classList.contains('now') && Boolean(li.querySelector('.word.now'));
        if (marked) document.getElementById('audio').pause();
        return marked;
      }), 'the words to be marked while it plays');
      await until(async () => {
        const at = await page.evaluate(() => ({
          start: Number(document.querySelector('.word.now')?.dataset.start),
          audio: Math.round(1000 * document.getElementById('audio').currentTime),
        }));
        return at.start === last.words.findLast((w) => w.start_ms <= at.audio)?.start_ms;
      }, 'the word to be marked at which it stands');
    });

    test('a click on a word jumps to it; the keyboard does too', async () => {
      const { id, words } = doc.segments.find((s) => s.words.length > 4);
      const box = await page.evaluate(
        ({ id, from, length }) => {
          const p = document.querySelector(`[data-id="${id}"] .words`);
          p.scrollIntoView({ block: 'center' });
          const range = document.createRange();
          const walk = document.createTreeWalker(p, NodeFilter.SHOW_TEXT);
          for (let skip = from; walk.nextNode(); skip -= walk.currentNode.length) {
            if (skip >= walk.currentNode.length) continue;
            range.setStart(walk.currentNode, skip);
            range.setEnd(walk.currentNode, Math.min(skip + length, walk.currentNode.length));
            const r = range.getBoundingClientRect();
            return { x: r.x + r.width / 2, y: r.y + r.height / 2 };
          }
        },
        { id, from: words.slice(0, 3).reduce((n, w) => n + w.text.length + 1, 0), length: words[3].text.length },
      );
      await page.mouse.click(box.x, box.y);
      await until(() => page.$eval('[data-testid="audio"]', (a) => !a.seeking), 'the jump');
      await page.$eval('[data-testid="audio"]', (a) => a.pause());
      near(1000 * (await page.$eval('[data-testid="audio"]', (a) => a.currentTime)), words[3].start_ms + 100, 'the audio is at');

      await page.focus('[data-testid="seek"]');
      await page.keyboard.press('Home');
      await page.keyboard.press('ArrowRight');
      await until(() => page.$eval('[data-testid="audio"]', (a) => !a.seeking && a.currentTime === 5), 'five seconds');
      assert.equal(await page.$eval('[data-testid="seek"]', (n) => n.getAttribute('aria-valuetext')), '0:05');
    });

    test('find leaves what has the words, and marks them', async () => {
      const word = doc.segments.at(-1).words.map((w) => w.text).toSorted((a, b) => b.length - a.length)[0];
      await page.locator('[data-testid="find"]').fill(word);
      const want = doc.segments.filter((s) => s.text.includes(word)).map((s) => s.id);
      await until(async () => (await text(page, 'find-sum')) === (want.length === 1 ? '1 place' : `${want.length} places`), 'the sum');
      const shown = await page.$$eval('[data-testid="segment"]', (l) => l.filter((li) => !li.hidden).map((li) => li.dataset.id));
      assert.deepEqual(shown, want);
      assert.ok((await page.$$eval('mark', (l) => l.map((m) => m.textContent))).every((m) => m === word));
      await page.focus('[data-testid="find"]');
      await page.$eval('[data-testid="find"]', (n) => n.select());
      await page.keyboard.press('Backspace');
      await until(async () => (await page.$$eval('[data-testid="segment"]', (l) => l.filter((li) => !li.hidden).length)) === doc.segments.length, 'all of it again');
    });

    test('the list has the meeting, and search leads to the place in it', async () => {
      const list = await visit(browsers[name], '/meetings');
      await until(async () => (await list.$$('[data-testid="meeting"]')).length === 1, 'the meeting');
      assert.match(await list.$eval('[data-testid="meeting"]', (n) => n.textContent), /daily.*Complete/);
      const s = doc.segments.at(-1);
      await list.locator('[data-testid="search"]').fill(s.words.slice(0, 3).map((w) => w.text).join(' '));
      await list.click('[data-testid="search-submit"]');
      await until(async () => (await list.$$('[data-testid="found-item"]')).length === 1, 'the place');
      await Promise.all([list.waitForNavigation(), list.click('[data-testid="found-item"] a')]);
      await until(() => list.$eval(`[data-id="${s.id}"]`, (li) => li.classList.contains('now')).catch(() => false), 'the segment to be marked');
      await until(() => list.$eval('[data-testid="audio"]', (a) => a.currentTime > 0), 'the audio to be there');
      near(1000 * (await list.$eval('[data-testid="audio"]', (a) => a.currentTime)), s.start_ms, 'the audio is at');
      assert.deepEqual(list.complaints, []);
      await list.close();
    });

    test('the page had nothing to complain about', () => assert.deepEqual(page.complaints, []));
  });
}

describe('what can be downloaded', () => {
  const folder = join(artifacts, 'meeting');
  const files = {};
  before(async () => {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    const page = await afterwards(browsers.chromium);
    const links = await page.$$eval('[data-testid="recordings"] a, [data-testid="downloads"] a', (l) => l.map((a) => ({ href: a.href, file: a.download })));
    for (const { href, file } of links) {
      const res = await fetch(href);
      assert.equal(res.status, 200, href);
      files[file] = join(folder, file.replaceAll(/[^\w.-]/g, '_'));
      writeFileSync(files[file], Buffer.from(await res.arrayBuffer()));
    }
    await page.close();
  });
  const named = (ending) => Object.values(files).filter((f) => f.endsWith(ending));
  const run = (program, ...args) => execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const lengthOf = (file) => Number(run('ffprobe', '-v', 'error', '-show_entries', 'format=duration', '-of', 'csv=p=0', file));

  test('is all there', () => {
    assert.deepEqual(['.flac', '.opus', '.wav', '.txt', '.vtt', '.srt', '.json'].map((e) => named(e).length), [1, 3, 3, 1, 1, 1, 1]);
  });

  test('opens in ffprobe, opusinfo and flac', async () => {
    const { tracks } = await server.json(`v1/meetings/${meeting}`);
    const lengths = tracks.map((t) => t.coverage.duration_ms).toSorted();
    for (const ending of ['.opus', '.wav']) {
      // ffprobe counts the 80 ms before the track, which players skip (RFC 7845, 4.2).
      const skip = ending === '.opus' ? 80 : 0;
      const got = named(ending).map((f) => 1000 * lengthOf(f) - skip).toSorted();
      for (const [i, ms] of got.entries()) assert.ok(Math.abs(ms - lengths[i]) < 2, `${ending}: ${got}, not ${lengths}`);
    }
    assert.ok(lengthOf(named('.flac')[0]) > 14);
    for (const f of named('.opus')) assert.doesNotMatch(run('opusinfo', f), /warning|error|fail/i);
    run('flac', '-s', '-t', ...named('.flac'));
  });

  test('each voice is in the recording, and its words where the transcript says', (t) => {
    const wav = join(folder, 'mix.wav');
    run('flac', '-s', '-f', '-d', '-o', wav, ...named('.flac'));
    const mix = wavSamples(readFileSync(wav));
    for (const p of people) {
      // Browsers do something to a voice; what the track has of it is in the mix.
      const sent = voice(p.says);
      const track = wavSamples(readFileSync(named('.wav').find((f) => f.includes(`/${p.name.split(' ')[0]}`))));
      const own = compare(sent, track);
      assert.ok(own.alike > 0.4, `${p.name} cannot be found in their track (${own.alike})`);
      const from = Math.round(16 * own.at);
      const { at, alike } = compare(track.subarray(from, from + sent.length), mix);
      assert.ok(alike > 0.4, `${p.name} cannot be found in the mix (${alike})`);
      const words = doc.segments.filter((s) => s.participant.name === p.name).flatMap((s) => s.words);
      const want = timedWords(p.says);
      const same = common(want.map((w) => w.text), words.map((w) => w.text));
      const off = same.map(([i, j]) => Math.round(words[j].start_ms - at - want[i].start_ms));
      t.diagnostic(`${p.name} at ${Math.round(at)} ms (${own.alike.toFixed(2)}, ${alike.toFixed(2)}), words off by ${off.join(' ')} ms`);
      assert.ok(same.length >= enough * want.length, `${same.length} of ${p.name}’s ${want.length} words`);
      for (const [i, j] of same) near(words[j].start_ms, at + want[i].start_ms, `${p.name}’s “${words[j].text}”`);
    }
  });
});

describe('how it looks', () => {
  const sizes = { desk: { width: 1280, height: 860 }, phone: { width: 390, height: 844 } };
  for (const [size, viewport] of Object.entries(sizes)) {
    for (const theme of ['light', 'dark']) {
      test(`${size}, ${theme}: axe finds nothing, nothing is wider than the screen`, async () => {
        for (const [name, path, there] of [
          ['meeting', `/meetings/${meeting}#t=${doc.segments[0].start_ms / 1000 + 0.5}`, '.word.now'],
          ['meetings', '/meetings', '[data-testid="meeting"]'],
          ['search', `/meetings?q=${doc.segments[0].words[0].text}`, '[data-testid="found-item"]'],
          ['gone', '/meetings/01AAAAAAAAAAAAAAAAAAAAAAAA', '.gone'],
        ]) {
          const page = await visit(browsers.chromium, path, viewport, theme);
          await page.waitForSelector(there);
          await look(page, `${name}-${size}-${theme}`);
          if (name === 'meeting' && size === 'phone') {
            await page.click('#panel-toggle');
            await look(page, `${name}-panel-${theme}`);
          }
          await page.close();
        }
      });
    }
  }

  async function look(page, name) {
    await shot(page, name);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, `${name} is wider than the screen`);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => axe.run());
    assert.deepEqual(violations.map((v) => `${name}: ${v.id} ${v.nodes[0].html}`), []);
  }
});

// 8 hours, 20 people, 20,000 segments. The server's side of it is tested in Go.
describe('a day of many people', () => {
  const day = bigDay();
  for (const name of ['chromium', 'firefox']) {
    test(`${name}: the page stays usable`, async (t) => {
      const page = await browsers[name].newPage();
      await page.setRequestInterception(true);
      page.on('request', (r) => {
        const body = day[new URL(r.url()).pathname];
        if (body) r.respond({ status: 200, contentType: 'application/json', body });
        else r.continue();
      });
      await page.setViewport({ width: 1280, height: 860 });
      const took = {};
      const timed = async (what, most, act) => {
        const from = Date.now();
        await act();
        took[what] = Date.now() - from;
        assert.ok(took[what] < most * slow, `${what}: ${took[what]} ms`);
      };
      await timed('first words', 6_000, async () => {
        await page.goto(new URL('/meetings/01DAY', server.url).href);
        await page.waitForSelector('[data-testid="segment"]');
      });
      await timed('all words', 15_000, () => page.waitForFunction(() => document.getElementById('transcript').childElementCount === 200, { polling: 100 }));
      await timed('jump', 4_000, async () => {
        await page.evaluate(() => (location.hash = '#t=14400.5'));
        await page.waitForSelector('.word.now');
      });
      assert.ok(await page.$eval('.caption.now', (n) => Math.abs(n.getBoundingClientRect().top - innerHeight / 2) < innerHeight / 2), 'the place is not on the screen');
      await timed('find', 4_000, async () => {
        await page.locator('[data-testid="find"]').fill('number 777');
        await page.waitForFunction(() => document.getElementById('find-sum').textContent === '11 places', { polling: 50 });
      });
      t.diagnostic(JSON.stringify(took));
      await shot(page, `day-${name}`);
      await page.close();
    });
  }
});

/** The answers of the API for a long day. */
function bigDay() {
  const at = '2026-03-04T09:00:00Z';
  const [many, length] = [20_000, 8 * 3_600_000];
  const ids = Array.from({ length: 20 }, (_, i) => `p${i}`);
  const participants = ids.map((id) => ({ id, name: `Person ${id}`, joined_at: at, left_at: at }));
  const coverage = { duration_ms: length, received_ms: length, recovered_ms: 0, concealed_ms: 0, silence_ms: 0, discontinuity_ms: 0, shed_ms: 0, transcribed_ms: length, pending_ms: 0, skipped_ms: 0 };
  const tracks = ids.map((id) => ({ id: `T${id}`, participant: id, state: 'complete', started_at: at, coverage, audio: 'kept' }));
  const meeting = { id: '01DAY', room: 'all-hands', state: 'complete', started_at: at, ended_at: at, recorded_at: at, participants, tracks, coverage };
  const segments = Array.from({ length: many }, (_, n) => {
    const start = Math.floor((n * length) / many);
    const texts = `and then we come to the second point of the agenda, this is number ${n}`.split(' ');
    const words = texts.map((text, i) => ({ text, start_ms: start + 150 * i, end_ms: start + 150 * (i + 1), confidence: 0.9 }));
    const { id, name } = participants[n % 20];
    return { id: `T${id}.${n}`, meeting: '01DAY', track: `T${id}`, participant: { id, name }, start_ms: start, end_ms: start + 2_400, text: texts.join(' '), final: true, revision: 1, engine: 'test', words };
  });
  const numbers = { duration_ms: length, talk_ms: 48_000_000, silence_ms: 0, overlap_ms: 19_200_000, double_talk_ms: 19_200_000, overlaps: many, turns: many, interruptions: 0, words: 14 * many, words_per_minute: 350, balance: 1 };
  const stats = {
    ...numbers, id: '01DAY', state: 'complete', room: 'all-hands', started_at: at, ended_at: at, coverage,
    participants: participants.map(({ id, name }) => ({ id, name, talk_ms: 2_400_000, share: 0.05, overlapped_ms: 0, turns: 1_000, longest_turn: { start_ms: 0, end_ms: 2_400 }, short_talks: 0, interruptions: 0, interrupted: 0, words: 14_000, words_per_minute: 350 })),
    timeline: { bucket_ms: 600_000, buckets: Array.from({ length: 48 }, (_, i) => ({ start_ms: 600_000 * i, end_ms: 600_000 * (i + 1), talk_ms: ids.map(() => 50_000), balance: 1 })) },
    trend: { meetings: 0, metrics: [], participants: [] },
  };
  const room = { room: 'all-hands', meetings: [], trend: { meetings: 0, metrics: [], participants: [] }, next: '' };
  const answers = { '': meeting, '/transcript.json': { meeting, segments, complete: true, missing: [] }, '/stats': stats };
  return {
    ...Object.fromEntries(Object.entries(answers).map(([path, a]) => [`/v1/meetings/01DAY${path}`, JSON.stringify(a)])),
    '/v1/rooms/all-hands/stats': JSON.stringify(room),
  };
}

test('erase takes the meeting away, after a question', async () => {
  const page = await afterwards(browsers.firefox);
  // A first try fails; what was answered then is no answer to the next question.
  await page.evaluate(() => {
    const real = window.fetch;
    window.fetch = (url, init) => {
      if (init?.method !== 'DELETE') return real(url, init);
      window.fetch = real;
      return Promise.reject(new TypeError('offline'));
    };
  });
  await page.click('[data-testid="erase"]');
  await page.click('[data-testid="erase-yes"]');
  await until(async () => /does not answer/.test(await text(page, 'notice')), 'the failure');
  await page.click('[data-testid="erase"]');
  await page.keyboard.press('Escape');
  await until(() => page.$eval('#erase-dialog', (d) => !d.open), 'the dialog to close');
  await new Promise((r) => setTimeout(r, 500));
  assert.equal((await server.json(`v1/meetings/${meeting}`)).id, meeting);
  await page.click('[data-testid="erase"]');
  await Promise.all([page.waitForNavigation(), page.click('[data-testid="erase-yes"]')]);
  assert.equal(new URL(page.url()).pathname, '/meetings');
  await until(async () => /No meeting/.test(await text(page, 'sum')), 'an empty list');
  await page.goto(new URL(`/meetings/${meeting}`, server.url).href);
  await until(async () => /no such meeting/.test(await text(page, 'empty')), 'that it is gone');
});
