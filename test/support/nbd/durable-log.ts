import { Command, CommandFlag } from './protocol.js';
import { covers } from './persist-trace.js';
import type { PersistTrace } from './persist-trace.js';
import type { Reply } from './reply.js';
import type { Transmission } from './transmission.js';

/** A request as its client saw it; the clock counts the client's own steps. */
interface Entry {
  readonly cookie: bigint;
  readonly command: number;
  readonly fua: boolean;
  readonly from: number;
  readonly to: number;
  readonly sentAt: number;
  ackedAt: number;
}

/** A change of the export, and when it must have been durable. */
interface Promised {
  readonly write: Entry;
  readonly reply: Entry;
}

/** Unlike any number that a trace is full of. */
const FIRST_COOKIE = 0xdc9e_a7f3_0000_0001n;

/** Requests of several connections in the order in which one process sent and received them. */
export class DurableLog {
  readonly #entries: Entry[] = [];
  #clock = 0;

  /** Sends a change or a flush and waits for its reply, which must be a success. */
  async call(
    client: Transmission,
    command: number,
    [offset, length]: readonly [number, number],
    flags = 0,
  ): Promise<void> {
    const cookie = FIRST_COOKIE + BigInt(this.#entries.length);
    const entry: Entry = {
      cookie,
      command,
      fua: (flags & CommandFlag.Fua) !== 0,
      from: offset,
      to: offset + length,
      sentAt: ++this.#clock,
      ackedAt: Number.POSITIVE_INFINITY,
    };
    this.#entries.push(entry);
    const payloadLen = client.style === 'extended' ? CommandFlag.PayloadLen : 0;
    const isWrite = command === Command.Write;
    const sent = { command, cookie, offset, flags: isWrite ? flags | payloadLen : flags };
    const body = isWrite ? { payload: Buffer.alloc(length, 1 + (this.#clock % 255)) } : { length };
    const reply: Reply = await client.call({ ...sent, ...body });
    if (reply.error !== 0) throw new Error(`command ${command}: error ${reply.error}`);
    entry.ackedAt = ++this.#clock;
  }

  /** How many promises the log holds. */
  get promises(): number {
    return this.#promised().length;
  }

  /**
   * The promises that the trace does not show kept: no persist that began after the change can
   * have been made, and ended before the reply that promises it left.
   */
  broken(trace: PersistTrace): string[] {
    const replies = trace.replies(this.#entries.map(({ cookie }) => cookie));
    const missing = this.#entries.filter(({ cookie }) => !replies.has(cookie));
    if (missing.length > 0)
      return missing.map(({ cookie }) => `no reply to ${cookie} in the trace`);
    const persisted = trace.persisted();
    return this.#promised()
      .filter(({ write, reply }) => {
        // Before its last predecessor was answered, the client had not even sent it.
        const earliest = this.#entries
          .filter(({ ackedAt }) => ackedAt < write.sentAt)
          .reduce((line, { cookie }) => Math.max(line, replies.get(cookie) ?? 0), 0);
        const left = replies.get(reply.cookie) ?? 0;
        const inTime = persisted.filter(({ entry, exit }) => entry > earliest && exit < left);
        return !covers(inTime, write.from, write.to);
      })
      .map(({ write, reply }) => `${describe(write)} is promised by ${describe(reply)}`);
  }

  #promised(): Promised[] {
    const changes = this.#entries.filter(({ command }) => command !== Command.Flush);
    const flushes = this.#entries.filter(({ command }) => command === Command.Flush);
    const byFua = changes.filter(({ fua }) => fua).map((write) => ({ write, reply: write }));
    const byFlush = flushes.flatMap((reply) =>
      changes
        .filter(({ ackedAt }) => ackedAt < reply.sentAt)
        .map((write): Promised => ({ write, reply })),
    );
    return [...byFua, ...byFlush];
  }
}

function describe({ command, fua, from, to, sentAt }: Entry): string {
  return `${sentAt}: command ${command}${fua ? ' with FUA' : ''} of [${from}, ${to})`;
}
