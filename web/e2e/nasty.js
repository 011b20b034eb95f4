#!/usr/bin/env node
/**
 * A recognizer (docs/RECOGNIZER_COMMAND.md) that says, every half a second, the
 * next of these: whatever could break out of a caption. Each lasts for 0.8 s, and so
 * do what others say meanwhile.
 */
import { argv } from 'node:process';
import { resolve } from 'node:path';

export const sayings = [
  'plain words',
  'a < b && c > d',
  '</v><v Nobody>I never said that',
  '00:00:00.000 --> 00:00:01.000',
  'one\n\nNOTE two\r\n\r\n00:01.000 --> 00:02.000\nthree',
  '&lt;b&gt; &amp;amp; &nbsp; &lrm;',
  'שלום עולם, and العربية again',
  '👩🏽‍🚀 🏴󠁧󠁢󠁳󠁣󠁴󠁿 日本語',
  '<00:00:01.000>karaoke<c.red>class</c> {\\an8}',
  `very long ${'Donaudampfschiffahrtsgesellschaft '.repeat(40)}`,
];

if (argv[1] === resolve(import.meta.filename)) {
  const step = 16_000; // bytes: half a second
  let bytes = 0;
  let said = 0;
  process.stdin.on('data', (chunk) => {
    bytes += chunk.length;
    for (; bytes >= (said + 1) * step; said++) {
      const start = said / 2;
      console.log(JSON.stringify({ type: 'final', start, end: start + 0.5, text: sayings[said % sayings.length] }));
    }
  });
}
