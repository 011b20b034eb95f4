/** What several servers need: a PostgreSQL of their own, and something in front of them. */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A PostgreSQL in a folder that goes away, reached by a socket there. */
export class Postgres {
  static async start() {
    const p = new Postgres();
    const versions = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(a) - Number(b));
    p.bin = `/usr/lib/postgresql/${versions.at(-1)}/bin/`;
    p.data = mkdtempSync(join(tmpdir(), 'verbatim-e2e-pg-'));
    if (process.getuid() === 0) execFileSync('chown', ['nobody', p.data]); // it does not run as root
    const [initdb, ...of] = p.command('initdb', '-D', p.data, '-U', 'verbatim', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync');
    execFileSync(initdb, of, { cwd: p.data });
    const [postgres, ...args] = p.command('postgres', '-D', p.data, '-k', p.data, '-c', 'listen_addresses=', '-c', 'fsync=off');
    p.process = spawn(postgres, args, { stdio: 'ignore', cwd: p.data });
    for (const deadline = Date.now() + 30_000; ; await new Promise((r) => setTimeout(r, 50))) {
      try {
        execFileSync(`${p.bin}pg_isready`, ['-q', '-h', p.data]);
        break;
      } catch (err) {
        if (Date.now() > deadline) throw err;
      }
    }
    p.url = `postgres://verbatim@/postgres?host=${encodeURIComponent(p.data)}`;
    return p;
  }

  command(name, ...args) {
    const as = process.getuid() === 0 ? ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', '--'] : [];
    return [...as, this.bin + name, ...args];
  }

  async stop() {
    const exit = once(this.process, 'exit');
    this.process.kill('SIGQUIT');
    await exit;
    rmSync(this.data, { recursive: true, force: true });
  }
}

/** A load balancer: each request goes to the first of the servers that says that it is ready. */
export class Balancer {
  /** @param {() => {url: string}[]} servers */
  static async start(servers) {
    const b = new Balancer();
    b.server = createServer(async (req, res) => {
      for (const s of servers()) {
        if (!(await fetch(`${s.url}readyz`).catch(() => null))?.ok) continue;
        const { hostname, port } = new URL(s.url);
        const headers = { ...req.headers, host: b.host };
        const on = request({ hostname, port, path: req.url, method: req.method, headers }, (answer) => {
          res.writeHead(answer.statusCode, answer.headers);
          answer.pipe(res);
          answer.on('error', () => res.destroy());
        });
        on.on('error', () => res.destroy());
        res.on('close', () => on.destroy());
        req.pipe(on);
        return;
      }
      res.writeHead(503).end();
    }).listen(0, '127.0.0.1');
    await once(b.server, 'listening');
    b.host = `127.0.0.1:${b.server.address().port}`;
    b.url = `http://${b.host}/`;
    return b;
  }

  async json(path, init) {
    const res = await fetch(new URL(path, this.url), init);
    if (!res.ok) throw new Error(`${path}: ${res.status} ${await res.text()}`);
    return res.json();
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}
