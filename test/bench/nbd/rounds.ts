import type { SeededRandom } from '../../support/seeded-random.js';
import type { Cell, Turn } from './cells.js';
import { outputOf } from './child.js';
import type { Server } from './servers.js';

/** One turn, and what it cost the server. */
export interface Sample extends Turn {
  readonly cpuSeconds: number;
}

/** The samples of one server in one cell, one a round. */
export interface Series {
  readonly cell: Cell;
  readonly server: string;
  readonly samples: Sample[];
}

/** What is run, and how often. */
export interface Plan {
  readonly cells: readonly Cell[];
  readonly servers: readonly Server[];
  readonly source: string;
  readonly rounds: number;
  readonly seconds: number;
  readonly random: SeededRandom;
}

/**
 * Runs every cell once a round. The servers take their turns at a cell one right after the
 * other, so that a slow moment hits all of them, and in an order that differs from round to
 * round, so that none gains by its place.
 */
export async function runRounds(plan: Plan): Promise<Series[]> {
  const { cells, servers, random } = plan;
  const series = cells.flatMap((cell) =>
    servers.map((server) => ({ cell, server: server.name, samples: new Array<Sample>() })),
  );
  for (let round = 1; round <= plan.rounds; round++) {
    console.error(`round ${round} of ${plan.rounds}`);
    for (const cell of shuffled(cells, random)) {
      for (const server of shuffled(servers, random)) {
        const sample = await runTurn(cell, server, plan);
        series.find((one) => one.cell === cell && one.server === server.name)?.samples.push(sample);
      }
    }
  }
  return series;
}

/** Writes and reads a server once, so that its memory is there and its code compiled. */
export async function warmUp({ uri }: Server, source: string): Promise<void> {
  await outputOf('nbdcopy', [source, uri]);
  await outputOf('nbdcopy', [uri, 'null:']);
}

async function runTurn(cell: Cell, server: Server, plan: Plan): Promise<Sample> {
  const before = server.cpuSeconds();
  const turn = await cell.run({ uri: server.uri, seconds: plan.seconds, source: plan.source });
  return { ...turn, cpuSeconds: server.cpuSeconds() - before };
}

/** Fisher and Yates. */
function shuffled<T>(items: readonly T[], random: SeededRandom): T[] {
  const left = [...items];
  return Array.from(items, () => left.splice(random.below(left.length), 1)).flat();
}
