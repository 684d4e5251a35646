import type { SeededRandom } from '../seeded-random.js';
import { encodeRequest } from './message.js';
import type { HeaderStyle, Request } from './message.js';
import { encodeContextRequest, encodeInfoRequest, encodeOption } from './option.js';
import { Command, CommandFlag, Option } from './protocol.js';

/** What a fuzzed client does: the bytes that it sends, and how it sends and reads. */
export interface FuzzSession {
  readonly kind: string;
  readonly pieces: readonly Buffer[];
  /** Milliseconds before each piece. */
  readonly pauseMs: number;
  /** How it leaves: shuts its own side and waits, drops the connection, or waits for the server. */
  readonly leave: 'half-close' | 'drop' | 'wait';
  /** Reads nothing until it has sent all. */
  readonly deaf: boolean;
}

/** Numbers at which lengths and offsets go wrong: the powers of two, and what is beside them. */
const EDGES = [0n, 9n, 12n, 16n, 24n, 25n, 26n, 31n, 32n, 52n, 53n, 63n, 64n]
  .flatMap((power) => [2n ** power - 1n, 2n ** power, 2n ** power + 1n])
  .filter((edge) => edge < 2n ** 64n);

/** Bytes of more than this in one session would only make the test slow. */
const PAYLOAD_MAX = 70_000;

/** Makes sessions with one export from a random source; the same seed, the same sessions. */
export class FuzzSessions {
  readonly #random: SeededRandom;
  readonly #name: string;

  constructor(random: SeededRandom, name: string) {
    this.#random = random;
    this.#name = name;
  }

  /** The next session. */
  next(): FuzzSession {
    const random = this.#random;
    const [kind, bytes] = this.#anyBytes();
    const pieces = random.below(4) === 0 ? this.#cut(bytes) : [bytes];
    const leave = random.pick(['half-close', 'half-close', 'drop', 'wait'] as const) ?? 'drop';
    return { kind, pieces, pauseMs: random.below(8) === 0 ? 2 : 0, leave, deaf: this.#oneIn(8) };
  }

  #anyBytes(): [kind: string, bytes: Buffer] {
    const random = this.#random;
    switch (random.below(8)) {
      case 0:
        return ['random bytes', random.bytes(random.below(600))];
      case 1:
        return ['random behind the flags', Buffer.concat([this.#flags(), this.#noise(600)])];
      case 2:
        return ['random behind GO', Buffer.concat([this.#handshake('simple'), this.#noise(600)])];
      case 3:
        return ['options', Buffer.concat([this.#flags(), ...this.#options()])];
      default: {
        const style = random.pick(['simple', 'structured', 'extended'] as const) ?? 'simple';
        const valid = Buffer.concat([this.#handshake(style), ...this.#requests(style)]);
        if (random.below(3) === 0) return [`${style} session`, valid];
        return [`mutated ${style} session`, this.#mutated(valid)];
      }
    }
  }

  #noise(max: number): Buffer {
    const bytes = this.#random.bytes(this.#random.below(max));
    for (let at = 0; at < bytes.length; at += 1 + this.#random.below(8)) bytes[at] = 0;
    return bytes;
  }

  #flags(): Buffer {
    const flags = Buffer.alloc(4);
    flags.writeUInt32BE(this.#oneIn(20) ? this.#random.below(2 ** 31) : this.#random.below(4));
    return flags;
  }

  /** Up to transmission, as a client that means well does it. */
  #handshake(style: HeaderStyle): Buffer {
    const options: Buffer[] = [Buffer.from([0, 0, 0, 3])];
    if (style === 'structured') options.push(encodeOption(Option.StructuredReply));
    if (style === 'extended') options.push(encodeOption(Option.ExtendedHeaders));
    if (style !== 'simple') {
      const contexts = encodeContextRequest(this.#name, ['base:allocation', 'daxd:lease']);
      options.push(encodeOption(Option.SetMetaContext, contexts));
    }
    options.push(encodeOption(Option.Go, encodeInfoRequest(this.#name, [3])));
    return Buffer.concat(options);
  }

  #options(): Buffer[] {
    return Array.from({ length: 1 + this.#random.below(12) }, () => this.#option());
  }

  #option(): Buffer {
    const random = this.#random;
    const option = random.below(14);
    const payloads = [
      Buffer.alloc(0),
      this.#noise(100),
      Buffer.alloc(random.below(5000), 0x78),
      encodeInfoRequest(this.#name, [random.below(5), random.below(65_536)]),
      encodeContextRequest(this.#name, ['base:', 'daxd:lease', 'x-y:z']),
    ];
    const encoded = encodeOption(option, random.pick(payloads));
    if (this.#oneIn(6)) encoded.writeUInt32BE(Number(this.#edge() & 0xffff_ffffn), 12);
    return encoded;
  }

  #requests(style: HeaderStyle): Buffer[] {
    const requests = Array.from({ length: 1 + this.#random.below(20) }, () =>
      encodeRequest(style, this.#request(style)),
    );
    if (this.#oneIn(2)) requests.push(encodeRequest(style, { command: Command.Disc }));
    return requests;
  }

  #request(style: HeaderStyle): Request {
    const random = this.#random;
    const command = this.#oneIn(10) ? random.below(65_536) : random.below(9);
    const flags = this.#oneIn(4) ? random.below(65_536) : random.below(2);
    const common = { command, cookie: BigInt(random.below(2 ** 31)), offset: this.#anyOffset() };
    if (command === Command.Write) {
      const payload = random.bytes(random.below(this.#oneIn(8) ? PAYLOAD_MAX : 600));
      const payloadLen = style === 'extended' && !this.#oneIn(10) ? CommandFlag.PayloadLen : 0;
      return { ...common, flags: flags | payloadLen, payload };
    }
    const length = this.#oneIn(3) ? this.#edge() : BigInt(random.below(65_536));
    return { ...common, flags, length: style === 'extended' ? length : length & 0xffff_ffffn };
  }

  #anyOffset(): bigint {
    return this.#oneIn(4) ? this.#edge() : BigInt(this.#random.below(2 ** 23));
  }

  #edge(): bigint {
    return this.#random.pick(EDGES) ?? 0n;
  }

  /** The same bytes, but for a few. */
  #mutated(bytes: Buffer<ArrayBuffer>): Buffer {
    let mutated = Buffer.from(bytes);
    const count = 1 + this.#random.below(4);
    for (let done = 0; done < count && mutated.length > 0; done++) mutated = this.#mutate(mutated);
    // Another export than its own is not this fuzzer's to write to.
    return mutated.includes('pmem0p2') ? bytes : mutated;
  }

  #mutate(bytes: Buffer<ArrayBuffer>): Buffer<ArrayBuffer> {
    const random = this.#random;
    const at = random.below(bytes.length);
    const to = Math.min(bytes.length, at + 1 + random.below(40));
    switch (random.below(6)) {
      case 0:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
        return bytes;
      case 1:
        bytes[at] = random.below(256);
        return bytes;
      case 2:
        return bytes.subarray(0, at);
      case 3:
        return Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)]);
      case 4:
        return Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)]);
      default:
        return Buffer.concat([bytes.subarray(0, at), this.#noise(40), bytes.subarray(at)]);
    }
  }

  #cut(bytes: Buffer): Buffer[] {
    const pieces: Buffer[] = [];
    for (let at = 0; at < bytes.length;) {
      const to = Math.min(bytes.length, at + 1 + this.#random.below(1 + bytes.length / 4));
      pieces.push(bytes.subarray(at, to));
      at = to;
    }
    return pieces;
  }

  #oneIn(count: number): boolean {
    return this.#random.below(count) === 0;
  }
}
