import { randomUUID } from 'node:crypto';

import type { RootDatabase } from 'lmdb';

import { decodeJson, encodeJson } from './kept-json.js';
import type { KeptJson } from './kept-json.js';
import type { StoreHeader } from '../lease-record.js';
import type { StoreChange } from '../lease-store.js';
import type { MediaIdentity } from '../media-identity.js';
import { fencingTokenOf } from './change-kinds.js';
import { unusable } from './errors.js';
import { LmdbWrites } from './lmdb-writes.js';
import { wholeBytes } from './summed-bytes.js';
import type { SummedValue } from './summed-bytes.js';

/** What this daxd writes, and the only one that it reads. */
const VERSION = 4;
const HEADER_KEY = 'header';
const ID_KEY = 'id';
const FENCING_KEY = 'fencing';
/** Before the name of a partition. */
const LEFT_KEY = 'left ';

/** What an LMDB file says of itself, and of the media whose leases it keeps. */
export class LmdbSelf {
  readonly id: string;
  readonly header: StoreHeader | undefined;
  readonly #directory: string;
  readonly #root: RootDatabase<SummedValue, string>;
  #fencingToken: number;

  /** @throws DaxdError EBADMSG for a damaged one and for one of another version. */
  constructor(directory: string, root: RootDatabase<SummedValue, string>) {
    this.#directory = directory;
    this.#root = root;
    this.header = this.#readHeader();
    this.id = this.#readId() ?? randomUUID();
    this.#fencingToken = this.#read('fencingToken', FENCING_KEY) ?? 0;
  }

  /** The largest of a lease that was ever kept. */
  get fencingToken(): number {
    return this.#fencingToken;
  }

  /** As {@link LeaseStore.left}. */
  left(partition: string): MediaIdentity | undefined {
    return this.#read('left', LEFT_KEY + partition);
  }

  /** What one transaction changes of it: to be called within that, and its result once it is durable. */
  write(changes: readonly StoreChange[]): () => void {
    const root = new LmdbWrites(this.#root);
    let token = this.#fencingToken;
    for (const change of changes) {
      token = Math.max(token, fencingTokenOf(change));
      if (change.kind === 'header') {
        root.put(HEADER_KEY, encodeJson({ version: VERSION, ...change.header }));
        root.put(ID_KEY, Buffer.from(this.id));
      } else if (change.kind === 'left') {
        root.put(LEFT_KEY + change.partition, encodeJson(change.media));
      }
    }
    if (token > this.#fencingToken) root.put(FENCING_KEY, encodeJson(token));
    return () => {
      this.#fencingToken = token;
    };
  }

  #readHeader(): StoreHeader | undefined {
    // The checksum of version 1 was another one.
    if (this.#root.get(HEADER_KEY) === null) {
      throw unusable(this.#directory, 'its header is damaged, or of version 1');
    }
    const header = this.#read('header', HEADER_KEY);
    if (header === undefined || header.version === VERSION) return header;
    const whose = header.version > VERSION ? 'a newer' : 'an older';
    throw unusable(
      this.#directory,
      `${whose} daxd wrote it, in version ${header.version}, and this one reads version ${VERSION}`,
    );
  }

  #readId(): string | undefined {
    const value = this.#root.get(ID_KEY);
    if (value === undefined) return undefined;
    try {
      return wholeBytes(value, 'its id').toString();
    } catch (error) {
      throw unusable(this.#directory, error);
    }
  }

  #read<K extends keyof KeptJson>(kind: K, key: string): KeptJson[K] | undefined {
    const value = this.#root.get(key);
    if (value === undefined) return undefined;
    try {
      return decodeJson(kind, value, `of ${this.#directory}`);
    } catch (error) {
      throw unusable(this.#directory, error);
    }
  }
}
