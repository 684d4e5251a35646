import { encodeJson } from './kept-json.js';
import type { KeptKey, LeaseRecord, LeaseTombstone } from '../lease-record.js';
import type { StoreChange } from '../lease-store.js';
import { LMDB_PAGE_BYTES } from './file-check.js';

/**
 * What one key that is written or removed copies of its tree at most, beside what a whole
 * transaction does: its leaf and the branch above, and those beside them that it is split into
 * or merged with.
 */
const PATH_BYTES = 4 * LMDB_PAGE_BYTES;
/** Of each transaction: the upper levels of each tree, and of the one that lists free pages. */
const TRANSACTION_BYTES = 32 * LMDB_PAGE_BYTES;
/** The list of free pages takes no more of the file than one part in so many. */
const FREE_LIST_PART = 64;
/** A leaf is half full after it was split. */
const SPLIT_FACTOR = 2;
/** Values from here on have pages of their own (`me_nodemax` of mdb.c is 2036). */
const OWN_PAGES_FROM_BYTES = 1_900;
/** A key of a lease and what LMDB and the checksum add to a value. */
const ENTRY_BYTES = 64;
/** A lease, or its end, without the texts that can be long; and without the pieces. */
const TERMS_BYTES = 640;
/** Of each range and run of a record. */
const PIECE_BYTES = 24;
/** What JSON makes of one unit of a text at most: \u0000. */
const ESCAPED_BYTES = 6;

/** How many keys a change writes or removes at most: a lease and its deadline are two. */
const KEYS = {
  put: 2,
  deadline: 1,
  remove: 2,
  key: 1,
  operation: 1,
  'operation-ended': 1,
  outcome: 1,
  tombstone: 1,
  header: 1,
  left: 1,
} as const satisfies Record<StoreChange['kind'], number>;

/**
 * By how many bytes an LMDB file of such a size may grow at most by one transaction, where it
 * has no free page to take. Each page is copied once by a transaction, however many keys of it
 * are written: many changes copy the file as it is, and no more.
 *
 * @param dropped how many of what is remembered are removed along with the changes.
 */
export function growthBytes(
  changes: readonly StoreChange[],
  { fileBytes, dropped }: { readonly fileBytes: number; readonly dropped: number },
): number {
  const keys = dropped + keysIn(changes);
  let bytes = 0;
  for (const change of changes) bytes += bytesOf(change);
  const copied = Math.min(keys * PATH_BYTES, fileBytes);
  return TRANSACTION_BYTES + Math.ceil(fileBytes / FREE_LIST_PART) + copied + bytes;
}

/** How many keys changes write or remove at most. */
export function keysIn(changes: readonly StoreChange[]): number {
  return changes.reduce((keys, { kind }) => keys + KEYS[kind], 0);
}

/** What a change brings; a removal brings nothing. */
function bytesOf(change: StoreChange): number {
  switch (change.kind) {
    case 'put':
      // A deadline may be noted beside it.
      return valueBytes(leaseBytes(change.record)) + valueBytes(0);
    case 'deadline':
      return valueBytes(0);
    case 'tombstone':
      // Its id stands in the round that it came in, too.
      return valueBytes(endBytes(change.tombstone)) + ENTRY_BYTES;
    case 'key':
      return keyBytes(change.key);
    case 'operation':
      return valueBytes(encodeJson(change.operation).length);
    case 'outcome':
      return valueBytes(encodeJson(change.operation).length) + ENTRY_BYTES;
    case 'header':
      return valueBytes(encodeJson({ version: 0, ...change.header }).length);
    case 'left':
      return valueBytes(encodeJson(change.media).length);
    case 'remove':
    case 'operation-ended':
      break;
  }
  return 0;
}

function leaseBytes({ terms, holding, quarantined }: LeaseRecord): number {
  const pieces = typeof holding === 'number' ? 2 : holding.ranges.length + holding.runs.length;
  return termsBytes(terms) + escapedBytes(quarantined?.reason) + pieces * PIECE_BYTES;
}

function endBytes({ terms, reason, quarantined }: LeaseTombstone): number {
  return termsBytes(terms) + escapedBytes(reason) + escapedBytes(quarantined?.reason);
}

function termsBytes({ path, client, holder }: LeaseTombstone['terms']): number {
  const texts = escapedBytes(path) + escapedBytes(client) + escapedBytes(holder?.cgroup);
  return TERMS_BYTES + texts;
}

/** Its id stands in the round that it came in, too. */
function keyBytes({ id, fingerprint }: KeptKey): number {
  const idBytes = escapedBytes(id);
  return valueBytes(idBytes + escapedBytes(fingerprint)) + ENTRY_BYTES + idBytes;
}

function escapedBytes(text: string | undefined): number {
  return text === undefined ? 0 : text.length * ESCAPED_BYTES;
}

/** What an entry with such a value takes of its tree, or of pages of its own. */
function valueBytes(bytes: number): number {
  const entryBytes = bytes + ENTRY_BYTES;
  if (entryBytes < OWN_PAGES_FROM_BYTES) return entryBytes * SPLIT_FACTOR;
  return Math.ceil(entryBytes / LMDB_PAGE_BYTES) * LMDB_PAGE_BYTES + SPLIT_FACTOR * ENTRY_BYTES;
}
