/** A verbatim server of our own, on free ports, with a data folder that goes away. */

import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createWriteStream, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const here = import.meta.dirname;
export const artifacts = join(here, 'artifacts');
mkdirSync(artifacts, { recursive: true });
export const binary = resolve(process.env.VERBATIM_BIN ?? join(here, '../../bin/verbatim'));

// A port that is free stays so: whoever asks the system for any port gets one from
// 32768 on, browsers too while the server is down.
const anyPort = () => 10_000 + Math.floor(20_000 * Math.random());

async function freeTCP() {
  const port = anyPort();
  const s = createServer().listen(port, '127.0.0.1');
  try {
    await once(s, 'listening');
  } catch (err) {
    if (err.code !== 'EADDRINUSE') throw err;
    return freeTCP();
  }
  s.close();
  return port;
}

// The server takes the port on every interface, of IPv6 too where there is any.
async function freeUDP(type = 'udp6') {
  const port = anyPort();
  const s = createSocket(type).bind(port);
  try {
    await once(s, 'listening');
  } catch (err) {
    if (err.code === 'EADDRINUSE') return freeUDP(type);
    if (type === 'udp4') throw err;
    return freeUDP('udp4');
  }
  s.close();
  return port;
}

export class Server {
  /** @param {string} name of the log file in artifacts/. @param flags a function gets the port */
  static async start(name, ...flags) {
    const s = new Server();
    s.data = mkdtempSync(join(tmpdir(), 'verbatim-e2e-'));
    s.port = await freeTCP();
    s.flags = flags.map((f) => (typeof f === 'function' ? f(s.port) : f));
    s.media = await freeUDP();
    s.url = `http://127.0.0.1:${s.port}/`;
    s.log = createWriteStream(join(artifacts, `${name}.log`));
    await s.up();
    return s;
  }

  /** Starts the process (again), and waits until it serves. */
  async up() {
    const args = ['serve', '--listen', `127.0.0.1:${this.port}`, '--media-listen', `:${this.media}`, '--data', this.data];
    if (!this.flags.includes('--recognizer')) args.push('--recognizer', 'pocketsphinx:');
    this.process = spawn(binary, [...args, ...this.flags], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.process.stdout.pipe(this.log, { end: false });
    this.process.stderr.pipe(this.log, { end: false });
    this.process.on('error', () => {}); // told below
    const deadline = Date.now() + 30_000;
    for (;;) {
      const res = await fetch(`${this.url}readyz`).catch(() => null);
      if (res?.ok) return;
      if (this.process.exitCode !== null || this.process.pid === undefined || Date.now() > deadline) {
        throw new Error(`${binary} does not serve (VERBATIM_BIN says where it is); its log is in ${artifacts}`);
      }
      await new Promise((r) => setTimeout(r, 50));
    }
  }

  /** @param {'SIGTERM'|'SIGKILL'} signal */
  async down(signal = 'SIGKILL') {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const exit = once(this.process, 'exit');
    this.process.kill(signal);
    await exit;
  }

  async stop() {
    await this.down();
    this.log.end();
    rmSync(this.data, { recursive: true, force: true });
  }

  async json(path, init) {
    const res = await fetch(new URL(path, this.url), init);
    if (!res.ok) throw new Error(`${path}: ${res.status} ${await res.text()}`);
    return res.json();
  }
}
