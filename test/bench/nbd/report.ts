import { of, type Comparison } from './comparison.js';
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
  const servers = [...(comparisons[0]?.rates.keys() ?? [])];
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
  ['cell', ...servers, 'best peer', 'ratio', 'counts as'],
  comparisons.map(({ cell, rates, bestPeer, ratio, interval, counted }) => [
    `${cell.name}, ${cell.unit}`,
    ...servers.map((server) => whole(of(rates, server))),
    bestPeer,
    `${two(ratio)} [${two(interval.low)}, ${two(interval.high)}]`,
    two(counted),
  ]),
)}

${summary(comparisons)}

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
