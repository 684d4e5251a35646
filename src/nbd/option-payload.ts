import { STRING_BYTES_MAX } from './protocol.js';

/** What INFO and GO ask. */
export interface InfoRequest {
  readonly name: string;
  /** Types of information that are asked for; what is unknown is to be ignored. */
  readonly wanted: ReadonlySet<number>;
}

/** What LIST_META_CONTEXT and SET_META_CONTEXT ask. */
export interface MetaContextRequest {
  readonly name: string;
  readonly queries: readonly string[];
}

/** Reads the data of an option from its start; any length that does not fit is `undefined`. */
class PayloadReader {
  readonly #data: Buffer;
  #at = 0;

  constructor(data: Buffer) {
    this.#data = data;
  }

  get atEnd(): boolean {
    return this.#at === this.#data.length;
  }

  uint16(): number | undefined {
    if (this.#at + 2 > this.#data.length) return undefined;
    this.#at += 2;
    return this.#data.readUInt16BE(this.#at - 2);
  }

  uint32(): number | undefined {
    if (this.#at + 4 > this.#data.length) return undefined;
    this.#at += 4;
    return this.#data.readUInt32BE(this.#at - 4);
  }

  /** A string behind its 32-bit length. */
  string(): string | undefined {
    const length = this.uint32();
    if (length === undefined || length > STRING_BYTES_MAX) return undefined;
    if (this.#at + length > this.#data.length) return undefined;
    this.#at += length;
    return stringOf(this.#data.subarray(this.#at - length, this.#at));
  }
}

/** The name of an export as EXPORT_NAME sends it; undefined when it is none. */
export function exportNameOf(data: Buffer): string | undefined {
  return data.length > STRING_BYTES_MAX ? undefined : stringOf(data);
}

/** The data of INFO and GO; undefined when its lengths do not fit. */
export function parseInfoRequest(data: Buffer): InfoRequest | undefined {
  const reader = new PayloadReader(data);
  const name = reader.string();
  const count = reader.uint16();
  if (name === undefined || count === undefined) return undefined;
  const wanted = new Set<number>();
  for (let i = 0; i < count; i++) {
    const type = reader.uint16();
    if (type === undefined) return undefined;
    wanted.add(type);
  }
  return reader.atEnd ? { name, wanted } : undefined;
}

/** The data of LIST_META_CONTEXT and SET_META_CONTEXT; undefined when its lengths do not fit. */
export function parseMetaContextRequest(data: Buffer): MetaContextRequest | undefined {
  const reader = new PayloadReader(data);
  const name = reader.string();
  const count = reader.uint32();
  if (name === undefined || count === undefined) return undefined;
  const queries: string[] = [];
  // Each query takes four bytes at least, so a count that lies ends the loop soon.
  for (let i = 0; i < count; i++) {
    const query = reader.string();
    if (query === undefined) return undefined;
    queries.push(query);
  }
  return reader.atEnd ? { name, queries } : undefined;
}

/** Strings are UTF-8 and hold no NUL; undefined for what is neither. */
function stringOf(bytes: Buffer): string | undefined {
  const text = bytes.toString('utf8');
  return text.includes('\0') || text.includes('\ufffd') ? undefined : text;
}
