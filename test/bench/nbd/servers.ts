import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { EXPORT_BYTES } from './cells.js';
import { outputOf } from './child.js';

/** How a server is started. */
export interface ServerKind {
  readonly name: string;
  /** Prints its version. */
  readonly version: string;
  /** Its command line, split at blanks; `image` is a file of its own. */
  readonly command: (at: { socket: string; image: string }) => string;
}

/** The server that is measured; the others are its peers. */
export const OURS = 'daxd';

/**
 * All with structured replies, and for several clients at once. The peers' options are those
 * with the best mean over all cells on two processors, of the number of threads (1, 2, 4, 16),
 * the allocator, the cache mode and the way of asynchronous I/O. None of them gives up
 * durability: every server that keeps a file honours FLUSH.
 */
export const SERVERS: readonly ServerKind[] = [
  {
    name: OURS,
    version: 'node bin/daxd.js --version',
    command: ({ socket, image }) =>
      `node bin/daxd.js serve --backing ${image} --mount none --listen unix:${socket}.http ` +
      `--nbd unix:${socket} --log-level warn`,
  },
  {
    name: 'nbdkit file',
    version: 'nbdkit --version',
    command: ({ socket, image }) => `nbdkit -f -t 4 -U ${socket} file ${image}`,
  },
  {
    name: 'nbdkit memory',
    version: 'nbdkit --version',
    command: ({ socket }) => `nbdkit -f -t 1 -U ${socket} memory ${EXPORT_BYTES} allocator=malloc`,
  },
  {
    name: 'qemu-nbd',
    version: 'qemu-nbd --version',
    command: ({ socket, image }) =>
      `qemu-nbd -t -e 16 -k ${socket} -f raw --cache=none --aio=native ${image}`,
  },
];

/** A server that answers. */
export class Server {
  readonly name: string;
  readonly uri: string;
  readonly #process: ChildProcess;

  private constructor(name: string, uri: string, process: ChildProcess) {
    this.name = name;
    this.uri = uri;
    this.#process = process;
  }

  /** Starts a server on a copy of `source` in `directory`, and waits until it answers. */
  static async start(kind: ServerKind, source: string, directory: string): Promise<Server> {
    const stem = join(directory, kind.name.replaceAll(/\W/g, '-'));
    const [image, socket] = [`${stem}.img`, `${stem}.sock`];
    copyFileSync(source, image);
    const [program = '', ...args] = kind.command({ socket, image }).split(' ');
    const process = spawn(program, args, { stdio: ['ignore', 'ignore', 'inherit'] });
    const server = new Server(kind.name, `nbd+unix:///?socket=${socket}`, process);
    try {
      await server.#checkExport();
    } catch (cause) {
      await server.stop();
      throw new Error(`${kind.name} does not serve as it should`, { cause });
    }
    return server;
  }

  /** Waits for the first answer: all servers must offer the same to the same clients. */
  async #checkExport(): Promise<void> {
    const info = JSON.parse(await this.#firstInfo());
    const [first] = info.exports;
    const found = [info.structured, first['export-size'], first.can_multi_conn];
    const wanted = [true, EXPORT_BYTES, true];
    if (found.join() !== wanted.join()) throw new Error(`${found.join()}, not ${wanted.join()}`);
  }

  async #firstInfo(): Promise<string> {
    for (let attempt = 0; attempt < 100 && this.#process.exitCode === null; attempt++) {
      try {
        return await outputOf('nbdinfo', ['--json', this.uri]);
      } catch {
        await sleep(100);
      }
    }
    throw new Error(`no answer at ${this.uri}`);
  }

  /** CPU seconds of the process so far, of all its threads. */
  cpuSeconds(): number {
    const stat = readFileSync(`/proc/${this.#process.pid}/stat`, 'utf8');
    // The program's name, in parentheses, may hold spaces. utime and stime are fields 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const killed = setTimeout(() => this.#process.kill('SIGKILL'), STOP_MS_MAX);
    this.#process.kill();
    await once(this.#process, 'exit');
    clearTimeout(killed);
  }
}

/** How long a server may take to stop, in milliseconds. */
const STOP_MS_MAX = 15_000;
/** Of the times in /proc, on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;
