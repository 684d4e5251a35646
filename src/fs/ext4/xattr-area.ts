import { DaxdError } from '../../lib/errno.js';
import { roundUp } from '../../lib/units.js';
import { damaged } from '../damage.js';
import { XattrEntryField } from './layout.js';
import type { XattrKey } from './xattr-name.js';

/** One attribute. */
export interface Xattr extends XattrKey {
  readonly value: Buffer;
}

/** Where attributes lie among the bytes of an inode or a block. */
export interface XattrPlace {
  /** Where the entries begin. They grow upwards, the values downwards from the end. */
  readonly first: number;
  /** What the places of values are counted from. */
  readonly origin: number;
}

/** Entries and values begin at multiples of it. */
const ALIGNMENT = 4;
/** The zero word behind the last entry. */
const END_SIZE = 4;
const NAME_HASH_SHIFT = 5;
const VALUE_HASH_SHIFT = 16;

/**
 * The attributes in an area, in its order. All of it is checked: names and values lie within
 * the area, no value overlaps the entries or another one, hashes are right where there are.
 *
 * @param what what the area belongs to, for messages
 * @throws DaxdError EUCLEAN
 * @kernel check_xattrs (fs/ext4/xattr.c)
 */
export function decodeXattrs(area: Buffer, place: XattrPlace, what: string): Xattr[] {
  const heads: number[] = [];
  let at = place.first;
  for (; ; at = entryEnd(area, at)) {
    if (at + END_SIZE > area.length) throw damagedAttributes(what, 'its entries have no end');
    if (area.readUInt32LE(at) === 0) break;
    if (entryEnd(area, at) + END_SIZE > area.length)
      throw damagedAttributes(what, 'an entry has no room');
    heads.push(at);
  }
  const spans: { from: number; to: number }[] = [];
  const xattrs = heads.map((head) => {
    const xattr = decodeEntry(area, head, place, what);
    if (xattr.value.length > 0) {
      const from = area.readUInt16LE(head + XattrEntryField.ValueOffset) + place.origin;
      spans.push({ from, to: from + roundUp(xattr.value.length, ALIGNMENT) });
    }
    return xattr;
  });
  let taken = at + END_SIZE;
  for (const { from, to } of spans.toSorted((a, b) => a.from - b.from)) {
    if (from < taken)
      throw damagedAttributes(what, `a value at ${from} overlaps what ends at ${taken}`);
    taken = to;
  }
  return xattrs;
}

/** Whether attributes have room in an area of `areaBytes`. */
export function xattrsFit(
  areaBytes: number,
  { first }: XattrPlace,
  xattrs: readonly Xattr[],
): boolean {
  const sizes = xattrs.map(({ name, value }) => entrySize(name) + roundUp(value.length, ALIGNMENT));
  return sizes.reduce((total, size) => total + size, first + END_SIZE) <= areaBytes;
}

/**
 * Writes attributes over an area, from `place.first` on; they fit. `isHashed` fills in the
 * hash of each, which the kernel does in a block and not in an inode. Gives the hashes.
 */
export function encodeXattrs(
  area: Buffer,
  place: XattrPlace,
  xattrs: readonly Xattr[],
  { isHashed }: { readonly isHashed: boolean },
): number[] {
  area.fill(0, place.first);
  let at = place.first;
  let end = area.length;
  return xattrs.map(({ index, name, value }) => {
    const size = roundUp(value.length, ALIGNMENT);
    end -= size;
    area.set(value, end);
    const hash = isHashed ? xattrHash(name, area.subarray(end, end + size)) : 0;
    area.writeUInt8(name.length, at + XattrEntryField.NameLength);
    area.writeUInt8(index, at + XattrEntryField.NameIndex);
    area.writeUInt16LE(size === 0 ? 0 : end - place.origin, at + XattrEntryField.ValueOffset);
    area.writeUInt32LE(value.length, at + XattrEntryField.ValueSize);
    area.writeUInt32LE(hash, at + XattrEntryField.Hash);
    area.set(name, at + XattrEntryField.Name);
    at += entrySize(name);
    return hash;
  });
}

/**
 * Hash of a name and a value; the value is padded with zeros to whole words.
 *
 * @param sign how a byte above 127 of the name counts: kernels before 6.2 took it as the
 *   machine's char, which is signed on x86
 * @kernel ext4_xattr_hash_entry (fs/ext4/xattr.c)
 */
export function xattrHash(
  name: Buffer,
  paddedValue: Buffer,
  sign: 'unsigned' | 'signed' = 'unsigned',
): number {
  let hash = 0;
  for (const byte of name) {
    const char = sign === 'signed' && byte > 127 ? byte - 256 : byte;
    hash = mix(hash, NAME_HASH_SHIFT, char);
  }
  for (let at = 0; at < paddedValue.length; at += ALIGNMENT) {
    hash = mix(hash, VALUE_HASH_SHIFT, paddedValue.readUInt32LE(at));
  }
  return hash;
}

/**
 * Hash over the hashes of a block's entries; 0 where an entry has none.
 *
 * @kernel ext4_xattr_rehash (fs/ext4/xattr.c)
 */
export function xattrBlockHash(hashes: readonly number[]): number {
  if (hashes.includes(0)) return 0;
  return hashes.reduce((hash, entry) => mix(hash, VALUE_HASH_SHIFT, entry), 0);
}

function mix(hash: number, shift: number, word: number): number {
  return ((hash << shift) ^ (hash >>> (32 - shift)) ^ word) >>> 0;
}

function decodeEntry(area: Buffer, at: number, { origin }: XattrPlace, what: string): Xattr {
  const name = area.subarray(
    at + XattrEntryField.Name,
    at + XattrEntryField.Name + area.readUInt8(at + XattrEntryField.NameLength),
  );
  if (name.includes(0)) throw damagedAttributes(what, 'a name has a NUL in it');
  if (area.readUInt32LE(at + XattrEntryField.ValueInode) !== 0) {
    throw damagedAttributes(
      what,
      'a value lies in an inode of its own, without the feature ea_inode',
    );
  }
  const size = area.readUInt32LE(at + XattrEntryField.ValueSize);
  const from = size === 0 ? 0 : origin + area.readUInt16LE(at + XattrEntryField.ValueOffset);
  const to = from + roundUp(size, ALIGNMENT);
  if (to > area.length)
    throw damagedAttributes(what, `a value of ${size} bytes at ${from} passes the end`);

  const stored = area.readUInt32LE(at + XattrEntryField.Hash);
  const padded = area.subarray(from, to);
  const isHashed =
    stored === 0 ||
    stored === xattrHash(name, padded) ||
    stored === xattrHash(name, padded, 'signed');
  if (!isHashed)
    throw damagedAttributes(what, `the hash of an attribute is not 0x${stored.toString(16)}`);
  return {
    index: area.readUInt8(at + XattrEntryField.NameIndex),
    name: Buffer.from(name),
    value: Buffer.from(area.subarray(from, from + size)),
  };
}

function entryEnd(area: Buffer, at: number): number {
  const nameLength = area.readUInt8(at + XattrEntryField.NameLength);
  return at + roundUp(XattrEntryField.Name + nameLength, ALIGNMENT);
}

function entrySize(name: Buffer): number {
  return roundUp(XattrEntryField.Name + name.length, ALIGNMENT);
}

function damagedAttributes(what: string, problem: string): DaxdError {
  return damaged(`attributes of ${what}: ${problem}`);
}
