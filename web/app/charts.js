/** The charts, drawn by Chart.js (web/vendor), in the colours of the page. */

const charts = new WeakMap();

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/**
 * @param {HTMLElement} figure with a canvas in it
 * @param {object} o
 * @param {string} o.label what somebody who does not see it is told
 * @param {string[]} o.labels
 * @param {{name: string, values: number[], colors: number|number[]}[]} o.sets colours are those of speakers
 * @param {(v: number) => string} o.say a value in words
 * @param {boolean} [o.sideways]
 * @param {boolean} [o.stacked]
 */
export function barChart(figure, { label, labels, sets, say, sideways = false, stacked = false }) {
  const speaker = (c) => color(`speaker-${c}`);
  draw(figure, label, sideways ? 2.25 * labels.length + 1.5 : 11, {
    type: 'bar',
    data: {
      labels,
      datasets: sets.map((s) => ({
        label: s.name,
        data: s.values,
        backgroundColor: Array.isArray(s.colors) ? s.colors.map(speaker) : speaker(s.colors),
        categoryPercentage: sideways ? 0.8 : 1,
        barPercentage: 0.9,
        maxBarThickness: sideways ? 22 : undefined,
      })),
    },
    options: options({ say, sideways, stacked, many: sets.length > 1 }),
  });
}

/**
 * @param {HTMLElement} figure
 * @param {object} o
 * @param {string} o.label
 * @param {string[]} o.labels
 * @param {(number|null)[]} o.values null where there is none
 * @param {(v: number) => string} o.say
 * @param {number} [o.mark] the index of the point that is this meeting
 * @param {number} [o.max] of the axis
 */
export function lineChart(figure, { label, labels, values, say, mark = -1, max }) {
  const radius = (ctx) => (ctx.dataIndex === mark ? 6 : values.length > 30 ? 0 : 3);
  draw(figure, label, 9, {
    type: 'line',
    data: {
      labels,
      datasets: [
        {
          data: values,
          borderColor: color('accent'),
          backgroundColor: color('accent'),
          borderWidth: 2,
          pointRadius: radius,
          pointHoverRadius: 6,
          spanGaps: true,
          clip: false,
          tension: 0,
        },
      ],
    },
    options: options({ say, max, many: false }),
  });
}

function options({ say, sideways = false, stacked = false, many, max }) {
  const text = color('soft');
  const line = color('line');
  const values = {
    beginAtZero: true,
    max,
    stacked,
    border: { display: false },
    grid: { color: line },
    ticks: { color: text, callback: (v) => say(v), maxTicksLimit: 5 },
  };
  const names = { stacked, grid: { display: false }, border: { color: line }, ticks: { color: text, autoSkip: !sideways, maxRotation: 0 } };
  if (sideways) names.ticks.callback = shortName;
  return {
    animation: false,
    responsive: true,
    maintainAspectRatio: false,
    indexAxis: sideways ? 'y' : 'x',
    interaction: { mode: 'index', axis: sideways ? 'y' : 'x', intersect: false },
    scales: sideways ? { x: values, y: names } : { x: names, y: values },
    plugins: {
      legend: { display: many, position: 'bottom', labels: { color: text, boxWidth: 10, boxHeight: 10, useBorderRadius: true, borderRadius: 5 } },
      tooltip: { callbacks: { label: (i) => ` ${many ? `${i.dataset.label}: ` : ''}${say(sideways ? i.parsed.x : i.parsed.y)}` } },
    },
  };
}

// What does not fit would be cut off at its beginning.
function shortName(index) {
  const name = [...this.getLabelForValue(index)];
  return name.length > 20 ? `${name.slice(0, 19).join('')}…` : name.join('');
}

function draw(figure, label, rem, config) {
  const canvas = figure.querySelector('canvas');
  canvas.setAttribute('aria-label', label);
  canvas.parentElement.style.height = `${rem}rem`;
  charts.get(canvas)?.destroy();
  const Chart = /** @type {any} */ (globalThis).Chart;
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  charts.set(canvas, new Chart(canvas, config));
}
