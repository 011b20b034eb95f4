// The package as somebody gets it: packed, installed in an empty folder, compiled
// against and imported.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const here = import.meta.dirname;
const tsc = join(here, 'node_modules/typescript/bin/tsc');
let folder, installed;

/** Runs a program; what it printed is in the error when it fails. */
function run(file, args, cwd = folder) {
  try {
    return execFileSync(file, args, { cwd, encoding: 'utf8', timeout: 60_000, stdio: 'pipe' });
  } catch (err) {
    throw new Error(`${err.message}\n${err.stdout}`, { cause: err });
  }
}

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'verbatim-client-'));
  installed = join(folder, 'node_modules/@verbatim/client');
  run('npm', ['pack', '--pack-destination', folder], here);
  const [tarball] = readdirSync(folder).filter((name) => name.endsWith('.tgz'));
  writeFileSync(join(folder, 'package.json'), '{"type": "module"}');
  run('npm', ['install', '--offline', '--no-audit', '--no-fund', `./${tarball}`]);
});

after(() => rmSync(folder, { recursive: true, force: true }));

test('it holds what it needs and no more', () => {
  const files = readdirSync(installed, { recursive: true }).map(String);
  for (const name of ['LICENSE', 'README.md', 'package.json', 'verbatim.js', 'types/index.d.ts', 'types/shapes.d.ts', 'example/index.html']) {
    assert.ok(files.includes(name), name);
  }
  const modules = readdirSync(here).filter((name) => name.endsWith('.js') && !name.endsWith('.test.js'));
  assert.deepEqual(files.filter((name) => /^[^/]+\.js$/.test(name)).sort(), modules.sort());
  assert.deepEqual(files.filter((name) => /test|tsconfig|lock|(?<!\.d)\.ts$|node_modules/.test(name)), []);
});

// Of what is exported nothing is left out.
test('README.md names all that there is', async () => {
  const { Api, Verbatim } = await import(pathToFileURL(join(installed, 'verbatim.js')).href);
  const types = (name) => readFileSync(join(installed, `types/${name}.d.ts`), 'utf8');
  const fields = (name) => [...types('shapes').match(new RegExp(`^export interface ${name} \\{([^]*?)^\\}`, 'm'))[1].matchAll(/^ {4}(\w+)\??:/gm)].map(([, field]) => field);
  const codes = [...types('problem').match(/const sentences: \{([^]*?)\}/)[1].matchAll(/^ +'?([\w-]+)'?:/gm)].map(([, code]) => code).filter((code) => code !== 'permission-denied-system');
  const members = [Verbatim, Api].flatMap((c) => Object.getOwnPropertyNames(c.prototype)).filter((name) => name !== 'constructor');
  const all = [...fields('Options'), ...fields('Events'), ...codes, ...members];
  assert.ok(all.length > 60 && codes.length > 15, all.join());
  const readme = readFileSync(join(installed, 'README.md'), 'utf8');
  assert.deepEqual(all.filter((name) => !new RegExp(`\`${name}[\`(]`).test(readme)), []);
});

test('it can be imported where there is no browser', () => {
  const script = "import('@verbatim/client').then((m) => console.log(Object.keys(m).sort().join(), new m.Verbatim({ room: 'daily', url: 'http://127.0.0.1' }).state))";
  assert.equal(run(process.execPath, ['-e', script]), 'Api,Captions,Verbatim,VerbatimError,validRoom idle\n');
});

for (const [name, more] of [['a bundler', ['--module', 'esnext', '--moduleResolution', 'bundler']], ['Node', ['--module', 'nodenext']]]) {
  test(`strict TypeScript compiles what uses it, resolved as by ${name}`, () => {
    copyFileSync(join(here, 'consumer.ts'), join(folder, 'consumer.ts'));
    const strict = ['--strict', '--noEmit', '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--noUnusedLocals'];
    run(process.execPath, [tsc, ...strict, ...more, '--target', 'es2022', '--lib', 'es2022,dom,dom.iterable', '--types', '', 'consumer.ts']);
  });
}

test('nothing of the client is of the type any', () => {
  const declared = readFileSync(join(installed, 'types/verbatim.d.ts'), 'utf8');
  assert.doesNotMatch(declared, /\bany\b/);
  assert.match(declared, /get muted\(\): boolean;/);
});
