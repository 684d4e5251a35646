import { randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';

import { GIB, KIB, MIB } from '../../../src/lib/units.js';
import { outputOf, RUN_MS_MAX } from './child.js';

/** Bytes of every export, and of what nbdcopy copies. */
export const EXPORT_BYTES = GIB;

/** What a client did to a server in one turn. */
export interface Turn {
  /** In the cell's `unit`. */
  readonly rate: number;
  /** In the cell's `work`. */
  readonly work: number;
}

/** One kind of load. */
export interface Cell {
  readonly name: string;
  readonly unit: 'ops/s' | 'MiB/s';
  /** What its CPU time is counted against. */
  readonly work: '100k ops' | 'GiB';
  /** Awaits the client's end. `source` is a file of {@link EXPORT_BYTES} that is not sparse. */
  run(load: { uri: string; seconds: number; source: string }): Promise<Turn>;
}

/** The cells in the order of the report. */
export const CELLS: readonly Cell[] = [
  fio({ name: 'read-4k-qd1', rw: 'randread', blockBytes: 4 * KIB, depth: 1 }),
  fio({ name: 'write-4k-qd1', rw: 'randwrite', blockBytes: 4 * KIB, depth: 1 }),
  fio({ name: 'read-4k-qd32', rw: 'randread', blockBytes: 4 * KIB, depth: 32 }),
  fio({ name: 'write-4k-qd32', rw: 'randwrite', blockBytes: 4 * KIB, depth: 32 }),
  fio({ name: 'read-4k-qd32-x4', rw: 'randread', blockBytes: 4 * KIB, depth: 32, jobs: 4 }),
  fio({ name: 'write-4k-qd32-x4', rw: 'randwrite', blockBytes: 4 * KIB, depth: 32, jobs: 4 }),
  fio({ name: 'read-128k-qd8', rw: 'read', blockBytes: 128 * KIB, depth: 8 }),
  fio({ name: 'write-128k-qd8', rw: 'write', blockBytes: 128 * KIB, depth: 8 }),
  fio({ name: 'read-1m-qd8', rw: 'read', blockBytes: MIB, depth: 8 }),
  fio({ name: 'write-1m-qd8', rw: 'write', blockBytes: MIB, depth: 8 }),
  nbdcopy('copy-from', ({ uri }) => [uri, 'null:']),
  nbdcopy('copy-to', ({ uri, source }) => [source, uri]),
];

interface FioJob {
  readonly name: string;
  readonly rw: 'randread' | 'randwrite' | 'read' | 'write';
  readonly blockBytes: number;
  /** Requests in flight on each connection. */
  readonly depth: number;
  /** Threads, each with a connection of its own. */
  readonly jobs?: number;
}

function fio({ name, rw, blockBytes, depth, jobs = 1 }: FioJob): Cell {
  const small = rw.startsWith('rand');
  const unit = small ? 'ops/s' : 'MiB/s';
  const perUnit = small ? 1 : MIB / blockBytes;
  const work = small ? '100k ops' : 'GiB';
  const perWork = small ? 100_000 : GIB / blockBytes;
  return {
    name,
    unit,
    work,
    async run({ uri, seconds }) {
      const args = [
        `--name=${name}`,
        '--ioengine=nbd',
        `--uri=${uri}`,
        `--rw=${rw}`,
        `--bs=${blockBytes}`,
        `--iodepth=${depth}`,
        `--numjobs=${jobs}`,
        '--thread',
        '--group_reporting',
        '--time_based',
        `--runtime=${seconds}`,
        // The client shares the processors with the server: it leaves out what nobody asks of it.
        '--norandommap',
        '--gtod_reduce=1',
        '--output-format=json',
      ];
      const output = await outputOf('fio', args, seconds * 1000 + RUN_MS_MAX);
      const { ops, ms } = fioResult(output, rw.endsWith('read') ? 'read' : 'write');
      return { rate: (ops * 1000) / ms / perUnit, work: ops / perWork };
    },
  };
}

/** Operations and milliseconds, from the JSON that stands between fio's messages. */
function fioResult(output: string, direction: 'read' | 'write'): { ops: number; ms: number } {
  const json = JSON.parse(output.slice(output.indexOf('{'), output.lastIndexOf('}') + 1));
  const [job] = json.jobs;
  if (job.error !== 0) throw new Error(`fio failed with error ${job.error}`);
  return { ops: job[direction].total_ios, ms: job[direction].runtime };
}

function nbdcopy(
  name: string,
  fromTo: (load: { uri: string; source: string }) => [from: string, to: string],
): Cell {
  return {
    name,
    unit: 'MiB/s',
    work: 'GiB',
    async run(load) {
      const startedMs = performance.now();
      await outputOf('nbdcopy', fromTo(load));
      const seconds = (performance.now() - startedMs) / 1000;
      return { rate: EXPORT_BYTES / MIB / seconds, work: EXPORT_BYTES / GIB };
    },
  };
}

/** Writes the file that nbdcopy reads: no block of it is zero, for zeros are not sent. */
export function writeSource(path: string): void {
  const fd = openSync(path, 'wx');
  const block = randomBytes(64 * MIB);
  for (let written = 0; written < EXPORT_BYTES; written += block.length) writeSync(fd, block);
  closeSync(fd);
}
