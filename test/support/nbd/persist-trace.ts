/**
 * What a trace of system calls says of durability: whether what a FLUSH or FUA promises had
 * reached the disk before the promise left.
 */

/** The calls that say something of it, for strace's `-e trace=`. */
export const TRACED_CALLS = 'mmap,msync,fsync,fdatasync,write,writev,sendto,sendmsg';

/** One call: the lines of the trace at which it began and ended. */
interface Call {
  readonly name: string;
  readonly args: string;
  readonly entry: number;
  exit: number;
  result: string;
}

/** A range of the backing that was on the disk for sure between two lines of the trace. */
interface Persisted {
  readonly from: number;
  readonly to: number;
  readonly entry: number;
  readonly exit: number;
}

const BEGIN = /^(\d+) +(\w+)\((.*)$/;
const RESUMED = /^(\d+) +<\.\.\. (\w+) resumed>(.*)$/;
/** Length and offset; connections that begin at once are mapped at once. */
const MMAP = /^\w+, (\d+), .*, (0x[0-9a-f]+|0)(?:\)| <unfinished)/;
const RESULT = /\) += (\S+)/;
const SENDS = new Set(['write', 'writev', 'sendto', 'sendmsg']);

/** The calls of `strace -f -y -x -v`, in the order in which they began. */
export class PersistTrace {
  readonly #calls: Call[] = [];
  readonly #image: string;

  /** @param image path of the backing, as the traced process opened it. */
  constructor(trace: string, image: string) {
    this.#image = image;
    const open = new Map<string, Call>();
    for (const [line, text] of trace.split('\n').entries()) {
      const resumed = RESUMED.exec(text);
      if (resumed !== null) {
        const call = open.get(resumed[1] ?? '');
        if (call !== undefined) finish(call, line, text);
        continue;
      }
      const [, pid = '', name = '', args = ''] = BEGIN.exec(text) ?? [];
      if (pid === '') continue;
      const call: Call = { name, args, entry: line, exit: Number.POSITIVE_INFINITY, result: '' };
      this.#calls.push(call);
      if (text.includes('<unfinished ...>')) open.set(pid, call);
      else finish(call, line, text);
    }
  }

  /** The line at which each cookie of `cookies` was first handed to the kernel for its client. */
  replies(cookies: Iterable<bigint>): Map<bigint, number> {
    const sends = this.#calls.filter(({ name }) => SENDS.has(name));
    const found = new Map<bigint, number>();
    for (const cookie of cookies) {
      const hex = cookie
        .toString(16)
        .padStart(16, '0')
        .replaceAll(/../g, String.raw`\x$&`);
      const send = sends.find(({ args }) => args.includes(hex));
      if (send !== undefined) found.set(cookie, send.entry);
    }
    return found;
  }

  /** Every range of the backing that was persisted. */
  persisted(): Persisted[] {
    const all: Persisted[] = [];
    for (const { name, args, entry, exit, result } of this.#calls) {
      if (result !== '0') continue;
      if (name === 'msync') all.push(...this.#msynced(args, entry, exit));
      const whole = (name === 'fsync' || name === 'fdatasync') && this.#isImage(args);
      if (whole) all.push({ from: 0, to: Number.POSITIVE_INFINITY, entry, exit });
    }
    return all;
  }

  #msynced(args: string, entry: number, exit: number): Persisted[] {
    const [, address = '0', length = '0'] = /^(0x[0-9a-f]+), (\d+), MS_SYNC/.exec(args) ?? [];
    const at = BigInt(address);
    // The latest map: an earlier one may have been where it is.
    const map = this.#maps().findLast(
      (one) => one.entry < entry && at >= one.base && at < one.base + one.length,
    );
    if (map === undefined) return [];
    const from = Number(at - map.base) + map.offset;
    return [{ from, to: from + Number(length), entry, exit }];
  }

  /** Where the backing was mapped. */
  #maps(): { base: bigint; length: bigint; offset: number; entry: number }[] {
    const mmaps = this.#calls.filter(({ name, args }) => name === 'mmap' && this.#isImage(args));
    return mmaps.map(({ args, entry, result }) => {
      const [, length = '0', offset = '0'] = MMAP.exec(args) ?? [];
      return { base: BigInt(result), length: BigInt(length), offset: Number(offset), entry };
    });
  }

  #isImage(args: string): boolean {
    return args.includes(`<${this.#image}>`);
  }
}

function finish(call: Call, line: number, text: string): void {
  call.exit = line;
  call.result = RESULT.exec(text)?.[1] ?? '';
}

/** Whether the ranges cover all of [from, to). */
export function covers(ranges: readonly Persisted[], from: number, to: number): boolean {
  let reached = from;
  for (const range of ranges.toSorted((a, b) => a.from - b.from)) {
    if (range.from <= reached && range.to > reached) reached = range.to;
  }
  return reached >= to;
}
