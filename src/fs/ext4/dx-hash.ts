import { assert } from '../../lib/assert.js';
import { SuperField, SuperFlag } from './layout.js';
import type { Superblock } from './superblock.js';

/**
 * Hashes of names, by which the index of a directory is ordered. Each takes the bytes of a
 * name as signed or as unsigned numbers, as the superblock says: a filesystem keeps what the
 * machine that made it took them for.
 *
 * Half MD4 is the first three rounds of MD4 with other constants' order, over 32 bytes at a
 * time; TEA is the block cipher of that name, over 16 bytes at a time; the legacy hash is two
 * numbers mixed byte by byte.
 */

/** Hashes that a directory may name. @kernel DX_HASH_* (fs/ext4/ext4.h) */
export const DxHash = { Legacy: 0, HalfMd4: 1, Tea: 2 } as const;

/** Hash of one name: 31 bits in the upper part of a word, bit 0 is always clear. */
export interface NameHash {
  (name: Uint8Array): number;
}

type Words = Uint32Array;

/** The hash that no name has: it means the end of a directory. */
const HASH_END = 0xfffffffe;
const SEED_WORDS = 4;
const DEFAULT_SEED: readonly number[] = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];

// Made once: hashing is synchronous, and each call fills them before it reads them.
const state = new Uint32Array(SEED_WORDS);
const words = new Uint32Array(8);

/**
 * The hash of `version` on one filesystem.
 *
 * @param version one of {@link DxHash}
 * @kernel ext4fs_dirhash (fs/ext4/hash.c)
 */
export function nameHash(sb: Pick<Superblock, 'bytes'>, version: number): NameHash {
  assert(version >= DxHash.Legacy && version <= DxHash.Tea, 'the hash version was checked');
  // Where a superblock does not say, the bytes are signed, as on the machines of that time.
  const isSigned = (sb.bytes.readUInt32LE(SuperField.Flags) & SuperFlag.UnsignedHash) === 0;
  if (version === DxHash.Legacy) return (name) => finish(legacyHash(name, isSigned));
  if (version === DxHash.Tea) return (name) => finish(teaHash(name, sb.bytes, isSigned));
  return (name) => finish(halfMd4Hash(name, sb.bytes, isSigned));
}

/** Sets the state to the seed of a superblock; one of zeros stands for the constants of MD4. */
function seedState(superblock: Buffer): void {
  let isSeeded = false;
  for (let i = 0; i < SEED_WORDS; i++) {
    const word = superblock.readUInt32LE(SuperField.HashSeed + 4 * i);
    state[i] = word;
    isSeeded ||= word !== 0;
  }
  if (!isSeeded) state.set(DEFAULT_SEED);
}

/** Bit 0 marks a continued hash in the index, so no name has it. */
function finish(hash: number): number {
  const even = (hash & ~1) >>> 0;
  return even === HASH_END ? HASH_END - 2 : even;
}

/** @hot Once a name hashed. */
function legacyHash(name: Uint8Array, isSigned: boolean): number {
  let hash = 0x12a3fe2d;
  let before = 0x37abe8f9;
  for (let i = 0; i < name.length; i++) {
    let next = (before + (hash ^ Math.imul(byteAt(name, i, isSigned), 7152373))) >>> 0;
    if (next >= 0x80000000) next -= 0x7fffffff;
    before = hash;
    hash = next;
  }
  return hash << 1;
}

/** @hot Once a name hashed. */
function halfMd4Hash(name: Uint8Array, superblock: Buffer, isSigned: boolean): number {
  seedState(superblock);
  for (let start = 0; start < name.length; start += 32) {
    fillWords(name, start, 8, isSigned);
    halfMd4(state, words);
  }
  return state[1] ?? 0;
}

/** @hot Once a name hashed. */
function teaHash(name: Uint8Array, superblock: Buffer, isSigned: boolean): number {
  seedState(superblock);
  for (let start = 0; start < name.length; start += 16) {
    fillWords(name, start, 4, isSigned);
    tea(state, words);
  }
  return state[0] ?? 0;
}

/**
 * Fills `words` from the name, four bytes a word, the first byte highest. What is short is
 * padded with the number of bytes that were left from `start` on. Signed bytes are added with
 * their sign, so they borrow from the byte before.
 */
function fillWords(name: Uint8Array, start: number, count: number, isSigned: boolean): void {
  const left = name.length - start;
  const pad = Math.imul(left, 0x01010101);
  for (let i = 0; i < count; i++) {
    let word = pad;
    for (let at = start + 4 * i; at < start + 4 * i + 4 && at < name.length; at++) {
      word = (byteAt(name, at, isSigned) + (word << 8)) | 0;
    }
    words[i] = word;
  }
}

function byteAt(name: Uint8Array, at: number, isSigned: boolean): number {
  const byte = name[at] ?? 0;
  return isSigned && byte >= 0x80 ? byte - 0x100 : byte;
}

/** Which word each step of a round takes, by how much it turns, and what is added. */
const MD4_ROUNDS: readonly {
  readonly mix: (x: number, y: number, z: number) => number;
  readonly order: readonly number[];
  readonly turns: readonly number[];
  readonly constant: number;
}[] = [
  {
    mix: (x, y, z) => z ^ (x & (y ^ z)),
    order: [0, 1, 2, 3, 4, 5, 6, 7],
    turns: [3, 7, 11, 19],
    constant: 0,
  },
  {
    mix: (x, y, z) => (x & y) + ((x ^ y) & z),
    order: [1, 3, 5, 7, 0, 2, 4, 6],
    turns: [3, 5, 9, 13],
    constant: 0x5a827999,
  },
  {
    mix: (x, y, z) => x ^ y ^ z,
    order: [3, 7, 2, 6, 1, 5, 0, 4],
    turns: [3, 9, 11, 15],
    constant: 0x6ed9eba1,
  },
];

function halfMd4(into: Words, input: Words): void {
  let [a, b, c, d] = words4(into);
  for (const { mix, order, turns, constant } of MD4_ROUNDS) {
    for (let i = 0; i < 8; i++) {
      const sum = (a + mix(b, c, d) + (input[order[i] ?? 0] ?? 0) + constant) | 0;
      const turn = turns[i % 4] ?? 0;
      const turned = (sum << turn) | (sum >>> (32 - turn));
      // The roles move on by one: the turned word is mixed first in the next step.
      a = d;
      d = c;
      c = b;
      b = turned;
    }
  }
  addTo(into, 0, a);
  addTo(into, 1, b);
  addTo(into, 2, c);
  addTo(into, 3, d);
}

const TEA_ROUNDS = 16;
const TEA_DELTA = 0x9e3779b9;

function tea(into: Words, input: Words): void {
  const [a, b, c, d] = words4(input);
  let [x, y] = words4(into);
  let sum = 0;
  for (let i = 0; i < TEA_ROUNDS; i++) {
    sum = (sum + TEA_DELTA) | 0;
    x = (x + (((y << 4) + a) ^ (y + sum) ^ ((y >>> 5) + b))) | 0;
    y = (y + (((x << 4) + c) ^ (x + sum) ^ ((x >>> 5) + d))) | 0;
  }
  addTo(into, 0, x);
  addTo(into, 1, y);
}

function words4(from: Words): [number, number, number, number] {
  const [a = 0, b = 0, c = 0, d = 0] = from;
  return [a, b, c, d];
}

function addTo(into: Words, at: number, value: number): void {
  into[at] = (into[at] ?? 0) + value;
}
