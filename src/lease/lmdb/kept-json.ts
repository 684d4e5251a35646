import type { EndedOperation, KeptOperation } from '../kept-operation.js';
import type { KeptKey, LeaseTombstone, RememberedRound, VersionedHeader } from '../lease-record.js';
import type { MediaIdentity } from '../media-identity.js';
import { wholeBytes } from './summed-bytes.js';
import type { SummedValue } from './summed-bytes.js';

/** What a store keeps as JSON, by kind: all that a restart does not read once for each lease. */
export interface KeptJson {
  readonly header: VersionedHeader;
  readonly fencingToken: number;
  readonly left: MediaIdentity;
  readonly tombstone: LeaseTombstone;
  readonly key: KeptKey;
  readonly operation: KeptOperation;
  readonly outcome: EndedOperation;
  readonly round: RememberedRound;
}

/** The bytes of what a store keeps. */
export function encodeJson(kept: KeptJson[keyof KeptJson]): Buffer {
  return Buffer.from(JSON.stringify(kept));
}

/**
 * What {@link encodeJson} wrote.
 *
 * @param name which one it is, for the message.
 * @throws DaxdError EBADMSG where its checksum is wrong.
 */
export function decodeJson<K extends keyof KeptJson>(
  kind: K,
  value: SummedValue,
  name: string,
): KeptJson[K] {
  const text = wholeBytes(value, `${kind} ${name}`).toString();
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- daxd wrote it, and not a bit has changed
  return JSON.parse(text) as KeptJson[K];
}
