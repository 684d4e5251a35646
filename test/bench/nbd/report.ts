import { of, type Comparison } from './comparison.js';
import { FLOOR } from './floor.js';
import { OURS } from './servers.js';
import { median } from './statistics.js';

/** What was measured, where and how. */
export interface Run {
  readonly machine: string;
  /** One line a program: its name, version and command line. */
  readonly programs: readonly string[];
  readonly command: string;
  readonly date: string;
  readonly rounds: number;
  readonly seconds: number;
}

/** The report as docs/benchmarks.md has it. */
export function report(run: Run, comparisons: readonly Comparison[]): string {
  const servers = [...(comparisons[0]?.rates.keys() ?? [])].filter((name) => name !== FLOOR);
  const hasFloor = comparisons.every(({ floorRatio }) => floorRatio !== undefined);
  const coverage = comparisons[0]?.interval.coverage ?? 0;
  return `# Benchmarks of the NBD server

\`npm run bench:nbd\` writes this page: daxd beside nbdkit and qemu-nbd, over a Unix socket, on an image of
1 GiB on tmpfs that holds no zeros. ${run.rounds} rounds; in each, the servers take their turns at a cell one after
the other, in an order that the seed shuffles. fio runs ${run.seconds} s a turn; nbdcopy copies 1 GiB, from the
server to \`null:\` or from a file on tmpfs to the server. All servers run all the time and grant structured
replies and several connections.

Measured on ${run.date} on ${run.machine}. To run it again: \`${run.command}\`.

${run.programs.map((program) => `- ${program}`).join('\n')}

## Speed

Medians, in operations a second at 4k and MiB/s otherwise. The ratio is the median of the rounds' ratios of daxd
to the best peer: the one with the highest median. In brackets the interval that holds that median with
${(coverage * 100).toFixed(1)} %, by order statistics. A cell whose interval includes 1 counts as 1.

${table(
  ['cell', ...servers, 'best peer', 'ratio', 'counts as', ...(hasFloor ? ['floor'] : [])],
  comparisons.map(({ cell, rates, bestPeer, ratio, interval, counted, floorRatio }) => [
    `${cell.name}, ${cell.unit}`,
    ...servers.map((server) => whole(of(rates, server))),
    bestPeer,
    `${two(ratio)} [${two(interval.low)}, ${two(interval.high)}]`,
    two(counted),
    ...(floorRatio === undefined ? [] : [two(floorRatio)]),
  ]),
)}

${summary(comparisons)}
${hasFloor ? floorText(comparisons) : ''}
## Processor time

Seconds of the server's process, user and system together, for 100,000 operations or for 1 GiB. The ratio is that
of daxd to the thriftiest peer, which need not be the fastest.

${table(
  ['cell', ...servers, 'thriftiest peer', 'ratio'],
  comparisons.map(({ cell, cpu, thriftiestPeer, cpuRatio }) => [
    `${cell.name}, s/${cell.work}`,
    ...servers.map((server) => two(of(cpu, server))),
    thriftiestPeer,
    two(cpuRatio),
  ]),
)}
`;
}

function summary(comparisons: readonly Comparison[]): string {
  const behind = comparisons.filter(({ counted }) => counted < 1);
  const costly = comparisons.filter(({ cpuRatio }) => cpuRatio > 1);
  return `- Cells behind the best peer: ${namesOf(behind)}
- The median cell counts as ${two(median(comparisons.map(({ counted }) => counted)))}
- Cells that cost ${OURS} more processor time than the thriftiest peer: ${namesOf(costly)}`;
}

/** What stands below the table where there is a floor in it. */
function floorText(comparisons: readonly Comparison[]): string {
  const ratios = comparisons.map(({ counted, floorRatio = 0 }) => Math.max(counted, floorRatio));
  return `- The median cell of a server that had the higher of both ratios in each, ${OURS}'s and the floor's: ${two(median(ratios))}

The floor is the ratio of a server to the same peer that does nothing but the protocol
([floor.c](../test/bench/nbd/floor.c)): one buffer in the processor's cache is what it reads and where it writes,
without a check, and nothing is kept. What is left of the time is the client's and the sockets'. Large reads of
${OURS} are not copied at all, and can stand above it.
`;
}

function namesOf(comparisons: readonly Comparison[]): string {
  return comparisons.length === 0 ? 'none' : comparisons.map(({ cell }) => cell.name).join(', ');
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, head.map(() => '---'), ...rows];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}

function two(value: number): string {
  return value.toFixed(2);
}
