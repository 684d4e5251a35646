/**
 * FLUSH and FUA, as the kernel sees them: the reply leaves after a persist that covers all that
 * it promises, on whatever connection that was written. With the persist taken out of the product
 * the same look at the same requests finds broken promises.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { MIB } from '../../src/lib/units.js';
import { DurableLog } from '../support/nbd/durable-log.js';
import { PersistTrace, TRACED_CALLS } from '../support/nbd/persist-trace.js';
import { Command, CommandFlag } from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { requires } from '../support/requires.js';
import { testSeed, times } from '../support/random-test.js';
import { SeededRandom } from '../support/seeded-random.js';
import { mutant, PLACES } from './mutant.js';
import { eventually, startNbd } from './nbd.js';

const SIZE_BYTES = 16 * MIB;
const LENGTHS = [1, 512, 4096, 5000, 65_536, 300_000];
const REQUESTS = times(150, 600);

/** Some requests over one connection, one after the other. */
async function requests(
  log: DurableLog,
  client: Transmission,
  random: SeededRandom,
  count: number,
): Promise<void> {
  const { Write, Flush, Trim, WriteZeroes } = Command;
  for (let done = 0; done < count; done++) {
    const command = random.pick([Write, Write, Write, WriteZeroes, Trim, Flush]) ?? Write;
    if (command === Flush) {
      await log.call(client, Flush, [0, 0]);
      continue;
    }
    const length = random.pick(LENGTHS) ?? 1;
    const flags = random.below(4) === 0 ? CommandFlag.Fua : 0;
    await log.call(client, command, [random.below(SIZE_BYTES - length), length], flags);
  }
}

interface Judgement {
  readonly promises: number;
  readonly broken: readonly string[];
}

/** Runs requests on a traced daemon, first one at a time over all connections, then at once. */
async function judge(t: Test, program: string, args: readonly string[]): Promise<Judgement> {
  // On a disk: in memory there is nothing to persist.
  const directory = t.testdir({});
  const trace = join(directory, 'trace');
  const strace = ['-D', '-f', '-y', '-x', '-v', '-s', '65536', '--seccomp-bpf', '-o', trace];
  const traced = ['strace', ...strace, '-e', `trace=${TRACED_CALLS}`, process.execPath] as const;
  const daxd = await startNbd(t, {
    image: join(directory, 'pmem0.img'),
    args: ['--size', '16M', ...args],
    program: [...traced, program],
  });
  const random = new SeededRandom(testSeed(t));
  const log = new DurableLog();
  const styles = ['simple', 'structured', 'extended', 'structured'] as const;
  const clients = await Promise.all(
    styles.map(async (style) => Transmission.start(t, daxd.address, '', { style })),
  );
  for (let done = 0; done < REQUESTS; done++) {
    const client = random.pick(clients);
    if (client !== undefined) await requests(log, client, random, 1);
  }
  const lanes = clients.map((client) => requests(log, client, random, REQUESTS / styles.length));
  await Promise.all(lanes);
  for (const client of clients) await client.disconnect();
  t.equal(await daxd.stop(), 0);
  // strace pads a pid to five places.
  const end = new RegExp(`^${daxd.child.pid} +\\+\\+\\+ `, 'm');
  const text = await eventually(
    () => readFileSync(trace, 'utf8'),
    (now) => end.test(now),
  );
  return { promises: log.promises, broken: log.broken(new PersistTrace(text, daxd.image)) };
}

for (const args of [[], ['--sparse']]) {
  t.test(`every promise is kept ${args.join('')}`, async (t) => {
    if (!requires(t, { commands: ['strace'] })) return;
    const { promises, broken } = await judge(t, resolve('bin/daxd.js'), args);
    t.ok(promises > 100, `${promises} promises`);
    t.strictSame(broken.slice(0, 10), []);
  });
}

const CONTROLS = {
  'without any persist': [PLACES.nbdPersist, ';'],
  'without that of FLUSH': [PLACES.nbdFlush, ';'],
  'with a FLUSH of less than all': [PLACES.nbdFlush, 'this.persist(0, 4096);'],
} as const;

for (const [name, [place, instead]] of Object.entries(CONTROLS)) {
  t.test(`control: ${name} promises are broken`, async (t) => {
    if (!requires(t, { commands: ['strace'] })) return;
    const program = mutant(t, place, instead);
    const { promises, broken } = await judge(t, program, []);
    t.ok(broken.length > 20, `${broken.length} of ${promises} promises are broken`);
  });
}
