/**
 * Random requests over several connections with every kind of header, against a model of the
 * export in memory; in the end the backing holds what the model holds.
 */
import { readFileSync, statSync } from 'node:fs';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { Command, CommandFlag, NbdErrno } from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { testSeed, times } from '../support/random-test.js';
import { SeededRandom } from '../support/seeded-random.js';
import { startNbd } from './nbd.js';

const SIZE_BYTES = 16 * MIB;
const PAGE_BYTES = 4096;
const LENGTHS = [1, 28, 511, 512, 4095, 4096, 4097, 8192, 32_768, 65_536, 300_000, 1_100_000];
const STEPS = 300;

/** The export as it must be. */
class Model {
  readonly bytes = Buffer.alloc(SIZE_BYTES);
  readonly #sparse: boolean;

  constructor(sparse: boolean) {
    this.#sparse = sparse;
  }

  /** Whole pages of the range go where they can come back as holes. */
  trim(offset: number, length: number): void {
    const pages = pagesWithin(offset, length);
    if (this.#sparse && pages !== undefined) this.bytes.fill(0, ...pages);
  }
}

/** The pages that lie in a range with all their bytes. */
function pagesWithin(offset: number, length: number): [from: number, to: number] | undefined {
  const from = Math.ceil(offset / PAGE_BYTES) * PAGE_BYTES;
  const to = Math.floor((offset + length) / PAGE_BYTES) * PAGE_BYTES;
  return from < to ? [from, to] : undefined;
}

interface Trial {
  readonly clients: readonly Transmission[];
  readonly model: Model;
  readonly random: SeededRandom;
  readonly sparse: boolean;
}

function anyRange({ random }: Trial): [offset: number, length: number] {
  const longest = random.pick(LENGTHS) ?? 1;
  const length = random.below(3) === 0 ? longest : 1 + random.below(longest);
  const offset = random.below(SIZE_BYTES - length + 1);
  const aligned = offset - (offset % PAGE_BYTES);
  return [random.below(2) === 0 ? aligned : offset, length];
}

type Range = readonly [offset: number, length: number];
/** One request; what was wrong with its answer, or nothing. */
type Action = (trial: Trial, client: Transmission, range: Range) => Promise<string | undefined>;

const ACTIONS: readonly Action[] = [write, write, write, trim, zero, flush, cache, read, read];

async function write({ random, model }: Trial, client: Transmission, [offset, length]: Range) {
  const payload = random.bytes(length);
  await client.write(offset, payload, anyFua(random));
  payload.copy(model.bytes, offset);
  return undefined;
}

async function trim({ random, model }: Trial, client: Transmission, [offset, length]: Range) {
  const request = { command: Command.Trim, offset, length, flags: anyFua(random) };
  model.trim(offset, length);
  return (await client.errorOf(request)) === 0 ? undefined : 'an error';
}

async function flush(_: Trial, client: Transmission) {
  await client.flush();
  return undefined;
}

async function cache(_: Trial, client: Transmission, [offset, length]: Range) {
  const request = { command: Command.Cache, offset, length };
  return (await client.errorOf(request)) === 0 ? undefined : 'an error';
}

async function read({ model }: Trial, client: Transmission, [offset, length]: Range) {
  const bytes = await client.read(offset, length);
  const right = bytes.equals(model.bytes.subarray(offset, offset + length));
  return right ? undefined : 'other bytes';
}

async function zero({ random, model, sparse }: Trial, client: Transmission, range: Range) {
  const [offset, length] = range;
  const { NoHole, FastZero, Fua } = CommandFlag;
  const flags = [NoHole, FastZero, Fua].reduce(
    (sum, flag) => (random.below(2) === 0 ? sum | flag : sum),
    0,
  );
  const error = await client.errorOf({ command: Command.WriteZeroes, offset, length, flags });
  // A filesystem in memory cannot zero a range and keep its blocks; holes it can make.
  const canPunch = sparse && (flags & NoHole) === 0;
  const fails = (flags & FastZero) !== 0 && !canPunch;
  if (error === 0) model.bytes.fill(0, offset, offset + length);
  if (error === (fails ? NbdErrno.ENOTSUP : 0)) return undefined;
  return `flags ${flags}, error ${error}`;
}

function anyFua(random: SeededRandom): number {
  return random.below(4) === 0 ? CommandFlag.Fua : 0;
}

async function step(trial: Trial): Promise<string | undefined> {
  const { random, clients } = trial;
  const action = random.pick(ACTIONS);
  const client = random.pick(clients);
  if (action === undefined || client === undefined) throw new Error('nothing to pick from');
  const range = anyRange(trial);
  const wrong = await action(trial, client, range);
  if (wrong === undefined) return undefined;
  return `${action.name} of ${range[1]} bytes at ${range[0]}, ${client.style}: ${wrong}`;
}

async function run(t: Test, sparse: boolean): Promise<void> {
  const daxd = await startNbd(t, { args: ['--size', '16M', ...(sparse ? ['--sparse'] : [])] });
  const allocated = statSync(daxd.image).blocks;
  const styles = ['simple', 'structured', 'extended', 'structured'] as const;
  const clients = await Promise.all(
    styles.map(async (style) => Transmission.start(t, daxd.address, 'pmem0', { style })),
  );
  const random = new SeededRandom(testSeed(t));
  const model = new Model(sparse);
  const trial = { clients, model, random, sparse };
  const steps = times(STEPS);
  for (let count = 0; count < steps; count++) {
    const wrong = await step(trial);
    if (wrong !== undefined) t.fail(`step ${count}: ${wrong}`);
  }
  for (const client of clients) {
    t.ok((await client.read(0, SIZE_BYTES)).equals(model.bytes), `${client.style}: the whole`);
    await client.disconnect();
  }
  if (!sparse) t.equal(statSync(daxd.image).blocks, allocated, 'no block was given up');
  t.equal(await daxd.stop(), 0);
  t.ok(readFileSync(daxd.image).equals(model.bytes), `the backing, after ${steps} steps`);
}

t.test('a sparse backing', async (t) => run(t, true));
t.test('an allocated backing', async (t) => run(t, false));
