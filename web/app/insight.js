/** What a meeting was like: the numbers, each speaker's part, the charts. */

import { barChart, lineChart } from './charts.js';
import { $, el, setText, show } from './dom.js';
import { clock, percent } from './words.js';

const whole = (x) => String(Math.round(x));
const hour = 3_600_000;

/**
 * What meetings are compared by: as the server's trend names it (docs/INSIGHT.md).
 * @type {Record<string, {name: string, of: (n: any) => number|null, say: (v: number) => string}>}
 */
export const metrics = {
  balance: { name: 'Balance', of: (n) => n.balance, say: percent },
  words_per_minute: { name: 'Words a minute', of: (n) => n.words_per_minute, say: whole },
  silence_share: { name: 'Silence', of: (n) => n.silence_ms / n.duration_ms, say: percent },
  double_talk_share: { name: 'Talking at once', of: (n) => n.double_talk_ms / n.duration_ms, say: percent },
  turns_per_hour: { name: 'Turns', of: (n) => (n.turns * hour) / n.duration_ms, say: (v) => `${whole(v)} an hour` },
  interruptions_per_hour: { name: 'Interruptions', of: (n) => (n.interruptions * hour) / n.duration_ms, say: (v) => `${whole(v)} an hour` },
  duration_ms: { name: 'Length', of: (n) => n.duration_ms, say: clock },
};

// With fewer meetings nothing is usual, and with fewer points there is no line.
const fewest = 3;

// What of a meeting was counted says more than the rate that it is compared by.
const counts = { turns_per_hour: 'turns', interruptions_per_hour: 'interruptions' };

const what = {
  duration_ms: 'up to the end of the last voice',
  silence_share: 'of the time nobody talked',
  double_talk_share: 'of the time two or more talked',
  words_per_minute: 'of talk',
  turns_per_hour: 'stretches of one speaker’s talk',
  interruptions_per_hour: 'one stopped as another began',
  balance: '100 % is all alike, 0 % one alone',
};

/**
 * The numbers in words.
 * @param {any} stats
 * @returns {{metric: string, name: string, value: string, what: string, usual: string}[]}
 */
export function tiles(stats) {
  return ['duration_ms', 'balance', 'silence_share', 'double_talk_share', 'turns_per_hour', 'interruptions_per_hour', 'words_per_minute'].flatMap((metric) => {
    const { name, of, say } = metrics[metric];
    const v = of(stats);
    if (v === null || !Number.isFinite(v)) return [];
    const usual = stats.trend?.metrics.find((m) => m.metric === metric);
    const value = counts[metric] ? stats[counts[metric]].toLocaleString() : say(v);
    return [{ metric, name, value, what: what[metric], usual: usual?.meetings >= fewest ? `usually ${say(usual.usual)}` : '' }];
  });
}

export class InsightView {
  #seek;
  #colorOf;
  #draw = []; // what is drawn again when the theme changes

  /**
   * @param {(participant: string) => number} colorOf
   * @param {(ms: number) => void} seek
   */
  constructor(colorOf, seek) {
    this.#colorOf = colorOf;
    this.#seek = seek;
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw.forEach((d) => d()));
    $('metric').addEventListener('change', () => this.#trend?.());
  }

  #trend;

  /** @param {any} stats of the meeting @param {any} room of its room */
  render(stats, room) {
    const spoken = stats.talk_ms > 0;
    show($('insight-none'), !spoken);
    for (const id of ['tiles', 'share', 'participation', 'speakers']) show($(id), spoken);
    show($('balance'), spoken && stats.balance !== null && stats.timeline.buckets.length >= fewest);
    this.#draw = [];
    if (spoken) {
      $('tiles').replaceChildren(...tiles(stats).map(tile));
      this.#speakers(stats);
      this.#draw.push(() => this.#charts(stats));
    }
    this.#comparison(stats, room);
    this.#draw.forEach((d) => d());
  }

  #charts(stats) {
    const people = stats.participants.map((p) => ({ ...p, name: p.name || 'Someone', color: this.#colorOf(p.id) }));
    barChart($('share'), {
      label: `Share of the talk: ${people.map((p) => `${p.name} ${percent(p.share)}`).join(', ')}`,
      labels: people.map((p) => p.name),
      sets: [{ name: 'Share', values: people.map((p) => p.share), colors: people.map((p) => p.color) }],
      say: percent,
      sideways: true,
    });
    const { buckets, bucket_ms } = stats.timeline;
    const times = buckets.map((b) => clock(b.start_ms));
    const minutes = (ms) => (bucket_ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${(ms / 60_000).toFixed(1)} min`);
    setText($('participation').querySelector('figcaption'), `Talk in each ${minutes(bucket_ms)}`);
    barChart($('participation'), {
      label: `Talk over time in ${buckets.length} parts of ${minutes(bucket_ms)}, by speaker`,
      labels: times,
      sets: people.map((p, i) => ({ name: p.name, values: buckets.map((b) => b.talk_ms[i]), colors: p.color })),
      say: minutes,
      stacked: true,
    });
    if ($('balance').hidden) return;
    lineChart($('balance'), {
      label: `Balance over time; ${percent(stats.balance)} of the whole meeting`,
      labels: times,
      values: buckets.map((b) => b.balance),
      say: percent,
      max: 1,
    });
  }

  #speakers(stats) {
    const longest = ({ longest_turn: t, name }) => {
      if (!t) return '–';
      const b = el('button', { type: 'button', className: 'link' }, clock(t.end_ms - t.start_ms));
      b.setAttribute('aria-label', `Play the longest turn of ${name || 'Someone'}, ${clock(t.end_ms - t.start_ms)} at ${clock(t.start_ms)}`);
      b.addEventListener('click', () => this.#seek(t.start_ms));
      return b;
    };
    const columns = [
      ['Talk', (p) => clock(p.talk_ms)],
      ['Share', (p) => percent(p.share)],
      ['Turns', (p) => String(p.turns)],
      ['Longest', longest],
      ['Words a minute', (p) => (p.words_per_minute === null ? '–' : whole(p.words_per_minute))],
      ['Interrupted others', (p) => String(p.interruptions)],
      ['Was interrupted', (p) => String(p.interrupted)],
    ];
    const rows = columns.map(([name, of]) =>
      el('tr', {}, el('th', { scope: 'row' }, name), ...stats.participants.map((p) => el('td', {}, of(p)))),
    );
    const head = stats.participants.map((p) => {
      const name = el('span', { className: 'name', data: { color: this.#colorOf(p.id) } }, p.name || 'Someone');
      return el('th', { scope: 'col' }, name);
    });
    $('speakers').replaceChildren(
      el('table', {}, el('caption', {}, 'Each speaker’s part'), el('thead', {}, el('tr', {}, el('td'), ...head)), el('tbody', {}, ...rows)),
    );
  }

  // With the meetings before and after it; one alone has no trend.
  #comparison(stats, room) {
    const others = room.meetings.filter((m) => m.talk_ms > 0 && m.id !== stats.id);
    const all = [...others, ...(stats.talk_ms > 0 ? [stats] : [])].sort((a, b) => Date.parse(a.started_at) - Date.parse(b.started_at));
    const known = Object.entries(metrics).filter(([, m]) => all.filter((n) => m.of(n) !== null).length > 1);
    const some = others.length > 0 && known.length > 0;
    show($('trend-section'), some);
    if (!some) return;
    const chosen = $('metric').value;
    $('metric').replaceChildren(...known.map(([id, m]) => el('option', { value: id }, m.name)));
    $('metric').value = known.some(([id]) => id === chosen) ? chosen : known[0][0];
    this.#trend = () => {
      const id = $('metric').value;
      const { name, of, say } = metrics[id];
      const usual = stats.trend.metrics.find((m) => m.metric === id);
      const mine = of(stats);
      const here = stats.talk_ms > 0 && mine !== null ? `${say(mine)} in this meeting` : 'not known of this meeting';
      const before = usual ? `, ${say(usual.usual)} ${usual.meetings > 1 ? `in the ${usual.meetings} before it (their median)` : 'in the one before it'}` : '';
      setText($('trend-words'), `${name}: ${here}${before}.`);
      lineChart($('trend'), {
        label: `${name} of ${all.length} meetings in this room. ${here}${before}`,
        labels: all.map((m) => new Date(m.started_at).toLocaleDateString([], { day: 'numeric', month: 'short' })),
        values: all.map((m) => of(m)),
        mark: all.findIndex((m) => m.id === stats.id),
        say,
      });
    };
    this.#draw.push(() => this.#trend());
  }
}

function tile({ metric, name, value, what, usual }) {
  return el(
    'div',
    { data: { metric, testid: 'tile' } },
    el('dt', {}, name),
    el('dd', {}, el('strong', {}, value), el('small', {}, what), ...(usual ? [el('small', { className: 'usual' }, usual)] : [])),
  );
}

