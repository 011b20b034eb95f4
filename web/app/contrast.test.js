// Every text colour of the style sheet has a contrast of 4.5:1 (WCAG 2.2 AA)
// with the backgrounds that it stands on, in both themes.
import test from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

const css = readFileSync(new URL('../style.css', import.meta.url), 'utf8');
const [light, dark] = css.split('@media (prefers-color-scheme: dark)');

function variables(text) {
  return Object.fromEntries([...text.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map((m) => [m[1], m[2]]));
}

function luminance(hex) {
  const [r, g, b] = [1, 3, 5].map((i) => {
    const c = parseInt(hex.slice(i, i + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a, b) {
  const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
}

const base = variables(light);
for (const [theme, colors] of [['light', base], ['dark', { ...base, ...variables(dark.split('\n}\n')[0]) }]]) {
  test(`text in the ${theme} theme`, () => {
    const pairs = [['on-accent', 'accent'], ['warn', 'warn-bg'], ['bad', 'bad-bg']];
    for (const bg of ['bg', 'surface']) {
      for (const fg of ['text', 'soft', 'accent', 'warn', 'bad', 'good']) pairs.push([fg, bg]);
      for (let i = 0; i < 8; i++) pairs.push([`speaker-${i}`, bg]);
    }
    for (const [fg, bg] of pairs) {
      const ratio = contrast(colors[fg], colors[bg]);
      assert.ok(ratio >= 4.5, `${fg} on ${bg}: ${ratio.toFixed(2)}`);
    }
  });
  test(`controls in the ${theme} theme have an edge that can be seen (3:1)`, () => {
    for (const bg of ['bg', 'surface']) assert.ok(contrast(colors.control, colors[bg]) >= 3, bg);
  });
}
