/**
 * kill -9 while clients write: what was acknowledged with FUA, or before a FLUSH, is there after
 * the restart. A killed process loses nothing from the page cache, so this finds replies that ran
 * ahead of their stores; nbd-durability.test.ts looks at what reaches the disk.
 */
import t from 'tap';
import type { Test } from 'tap';
import { setTimeout as delay } from 'node:timers/promises';

import { systemCodeOf } from '../../src/lib/errno.js';
import { MIB } from '../../src/lib/units.js';
import { EndOfStreamError } from '../support/nbd/byte-stream.js';
import { Command, CommandFlag } from '../support/nbd/protocol.js';
import { Transmission } from '../support/nbd/transmission.js';
import { testSeed, times } from '../support/random-test.js';
import { SeededRandom } from '../support/seeded-random.js';
import { startNbd } from './nbd.js';
import type { NbdDaxd } from './nbd.js';

const ROUNDS = times(5, 200);
const SIZE_BYTES = 16 * MIB;
const BLOCK_BYTES = 4096;
const CLIENTS = 4;
const IN_FLIGHT = 8;
const BLOCKS = SIZE_BYTES / BLOCK_BYTES;
/** What a write gets whose connection the kill has broken; the last one from Node itself. */
const BROKEN: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'ERR_STREAM_DESTROYED']);

/** What is known of a block: stamps that it may hold, the oldest one durable. */
class BlockHistory {
  /** Sent after the durable one, each with its own stamp. */
  #later: number[] = [];
  #durable = 0;

  sent(stamp: number): void {
    this.#later.push(stamp);
  }

  /** Acknowledged and covered by a flush: what was sent before it cannot come back. */
  durable(stamp: number): void {
    const at = this.#later.indexOf(stamp);
    if (at < 0) return;
    this.#durable = stamp;
    this.#later = this.#later.slice(at + 1);
  }

  /** Whether the block may look like this; a write that was under way may be there in part. */
  allows(block: Buffer): boolean {
    for (let at = 0; at < block.length; at += 8) {
      const stamp = block.readDoubleBE(at);
      if (stamp !== this.#durable && !this.#later.includes(stamp)) return false;
    }
    return true;
  }

  /** What was seen after a restart is all that there can be. */
  settle(block: Buffer): void {
    this.#durable = block.readDoubleBE(0);
    this.#later = [];
  }
}

/** A block full of one stamp. */
function stamped(stamp: number): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  block.writeDoubleBE(stamp);
  return block.fill(block.subarray(0, 8));
}

/** What all clients together know. */
class Ledger {
  readonly histories = Array.from({ length: BLOCKS }, () => new BlockHistory());
  #lastStamp = 0;
  /** Acknowledged since the start of the process, and maybe not durable. */
  #acknowledged: [block: number, stamp: number][] = [];
  durableWrites = 0;

  nextStamp(block: number): number {
    const stamp = ++this.#lastStamp;
    this.histories[block]?.sent(stamp);
    return stamp;
  }

  acknowledged(block: number, stamp: number, fua: boolean): void {
    if (fua) this.#durable(block, stamp);
    else this.#acknowledged.push([block, stamp]);
  }

  /** What a flush that is sent now will cover, of all connections. */
  coveredByFlush(): () => void {
    const covered = this.#acknowledged;
    this.#acknowledged = [];
    return () => {
      for (const [block, stamp] of covered) this.#durable(block, stamp);
    };
  }

  forgetProcess(): void {
    this.#acknowledged = [];
  }

  #durable(block: number, stamp: number): void {
    this.histories[block]?.durable(stamp);
    this.durableWrites += 1;
  }
}

/** Writes random blocks of its own until the connection breaks; flushes cover everybody's. */
async function load(client: Transmission, own: number, ledger: Ledger, random: SeededRandom) {
  const onReply = new Map<bigint, () => void>();
  const busy = new Set<number>();
  const sendOne = async (): Promise<void> => {
    if (random.below(12) === 0) {
      const covered = ledger.coveredByFlush();
      onReply.set(await client.send({ command: Command.Flush }), covered);
      return;
    }
    const block = own + CLIENTS * random.below(BLOCKS / CLIENTS);
    // Two writes of one block under way have no order.
    if (busy.has(block)) return sendOne();
    busy.add(block);
    const stamp = ledger.nextStamp(block);
    const fua = random.below(4) === 0;
    const flags = fua ? CommandFlag.Fua : 0;
    const write = { command: Command.Write, offset: block * BLOCK_BYTES, flags };
    const cookie = await client.send({ ...write, payload: stamped(stamp) });
    onReply.set(cookie, () => {
      busy.delete(block);
      ledger.acknowledged(block, stamp, fua);
    });
  };
  try {
    for (let count = 0; count < IN_FLIGHT; count++) await sendOne();
    for (;;) {
      const reply = await client.receive();
      if (reply.error !== 0) throw new Error(`error ${reply.error}`);
      onReply.get(reply.cookie)?.();
      await sendOne();
    }
  } catch (error) {
    if (!isOfTheKill(error)) throw error;
  }
}

/** Whether the connection broke; what the server said wrong is none of it. */
function isOfTheKill(error: unknown): boolean {
  return error instanceof EndOfStreamError || BROKEN.has(systemCodeOf(error) ?? '');
}

/** Blocks that hold what they may not. */
async function lost(t: Test, daxd: NbdDaxd, ledger: Ledger): Promise<number[]> {
  const client = await Transmission.start(t, daxd.address, '');
  const bytes = await client.read(0, SIZE_BYTES);
  const wrong: number[] = [];
  for (const [index, history] of ledger.histories.entries()) {
    const block = bytes.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
    if (!history.allows(block)) wrong.push(index);
    // A torn block is written anew, so that every round begins with whole ones.
    await client.write(index * BLOCK_BYTES, stamped(block.readDoubleBE(0)));
    history.settle(block);
  }
  await client.disconnect();
  return wrong;
}

t.test(`${ROUNDS} times`, { timeout: 7_200_000 }, async (t) => {
  const random = new SeededRandom(testSeed(t));
  const ledger = new Ledger();
  let daxd = await startNbd(t, { args: ['--size', '16M', '--sparse'] });
  for (let round = 0; round < ROUNDS; round++) {
    const { address } = daxd;
    const clients = await Promise.all(
      Array.from({ length: CLIENTS }, () => Transmission.start(t, address, '')),
    );
    const loads = clients.map(async (client, own) => load(client, own, ledger, random));
    await delay(50 + random.below(400));
    t.equal(await daxd.stop('SIGKILL'), null);
    await Promise.all(loads);
    ledger.forgetProcess();
    daxd = await startNbd(t, { directory: daxd.directory });
    t.strictSame(await lost(t, daxd, ledger), [], `round ${round}`);
  }
  t.comment(`${ledger.durableWrites} writes were durable in ${ROUNDS} rounds`);
  t.ok(ledger.durableWrites > ROUNDS * 20);
  t.equal(await daxd.stop(), 0);
});
