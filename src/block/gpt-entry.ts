// oxlint-disable-next-line typescript/triple-slash-reference -- the package ships no types
/// <reference path="./gpt-package.d.ts" />
import GPT from 'gpt';

import { DaxdError } from '../lib/errno.js';

/** Bytes of one entry; the kernel reads no other size. */
export const GPT_ENTRY_BYTES = 128;
/** UTF-16 units that a partition's name holds. */
const GPT_LABEL_UNITS_MAX = 36;

/** Type of partitions that hold a Linux filesystem, in lower case. */
export const LINUX_FILESYSTEM_TYPE = '0fc63daf-8483-4772-8e79-3d69d8477de4';

const NAME_OFFSET = 56;

/** One used slot of a partition table. */
export interface GptEntry {
  /** Slot, from 1: the number in the partition's name. */
  readonly number: number;
  /** GUIDs in lower case. */
  readonly type: string;
  readonly uuid: string;
  readonly label: string;
  /**
   * Sectors of 512 bytes; both ends belong to the partition. What media name past 2⁵³ is rounded,
   * and lies outside every disk all the same.
   */
  readonly firstLba: number;
  readonly lastLba: number;
}

/**
 * Reads the used slots in order. The package's own table reader drops empty slots, and with
 * them the numbers of all that follow, so the slots are walked here.
 */
export function decodeEntries(entries: Buffer): GptEntry[] {
  const used: GptEntry[] = [];
  for (let at = 0; at + GPT_ENTRY_BYTES <= entries.length; at += GPT_ENTRY_BYTES) {
    const entry = GPT.PartitionEntry.parse(entries, at);
    if (entry.isEmpty()) continue;
    used.push({
      number: at / GPT_ENTRY_BYTES + 1,
      type: entry.type.toLowerCase(),
      uuid: entry.guid.toLowerCase(),
      label: decodeLabel(entries.subarray(at + NAME_OFFSET, at + GPT_ENTRY_BYTES)),
      firstLba: Number(entry.firstLBA),
      lastLba: Number(entry.lastLBA),
    });
  }
  return used;
}

/** Writes one slot and leaves the others byte for byte as they are. */
export function encodeEntry(entries: Buffer, entry: GptEntry): void {
  new GPT.PartitionEntry({
    type: entry.type,
    guid: entry.uuid,
    name: entry.label,
    firstLBA: BigInt(entry.firstLba),
    lastLBA: BigInt(entry.lastLba),
  }).write(entries, (entry.number - 1) * GPT_ENTRY_BYTES);
}

/** Empties one slot; the numbers of the others stay. */
export function clearEntry(entries: Buffer, number: number): void {
  entries.fill(0, (number - 1) * GPT_ENTRY_BYTES, number * GPT_ENTRY_BYTES);
}

/**
 * @throws DaxdError EINVAL when a label does not fit an entry.
 */
export function checkLabel(label: string): void {
  if (label.length > GPT_LABEL_UNITS_MAX) {
    throw new DaxdError(
      'EINVAL',
      `label "${label}" has ${label.length} UTF-16 units: at most ${GPT_LABEL_UNITS_MAX} fit`,
    );
  }
  if (label.includes('\0')) {
    throw new DaxdError('EINVAL', `label ${JSON.stringify(label)} holds a NUL: leave it out`);
  }
}

function decodeLabel(name: Buffer): string {
  const text = name.toString('utf16le');
  const end = text.indexOf('\0');
  return end === -1 ? text : text.slice(0, end);
}
