import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';

import { CELLS, type Cell } from './cells.js';

/** What the command line asks for. */
export interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly cells: readonly Cell[];
  /** Of the orders within the rounds. */
  readonly seed: number;
}

/** What is measured for the docs when nothing else is asked: under a quarter of an hour. */
export const DEFAULTS = { rounds: 9, seconds: 1 };

/** @throws Error saying what is wrong with an option. */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: `${DEFAULTS.rounds}` },
      seconds: { type: 'string', default: `${DEFAULTS.seconds}` },
      cells: { type: 'string' },
      seed: { type: 'string', default: `${randomInt(2 ** 31)}` },
    },
  });
  return {
    rounds: whole('rounds', values.rounds, 1),
    seconds: whole('seconds', values.seconds, 1),
    seed: whole('seed', values.seed, 0),
    cells: values.cells === undefined ? CELLS : values.cells.split(',').map(cellOf),
  };
}

function whole(option: string, text: string, least: number): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= least) return value;
  throw new Error(`--${option} ${text}: a whole number from ${least}`);
}

function cellOf(name: string): Cell {
  const cell = CELLS.find((one) => one.name === name);
  if (cell !== undefined) return cell;
  throw new Error(`no cell ${name}: there are ${CELLS.map((one) => one.name).join(', ')}`);
}
