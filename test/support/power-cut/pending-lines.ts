import { createHash } from 'node:crypto';

import type { DiskImage } from './disk-image.js';

/** What reaches the media whole or not at all; several stores to it reach it in order. */
const LINE = 64;
/** What no medium tears. */
const WORD = 8;

/** A part of a store, within one line. */
interface Piece {
  /** Place of the store in the log. */
  readonly age: number;
  /** First byte within the line. */
  readonly start: number;
  readonly bytes: Buffer;
}

/** A line as a cut leaves it. */
export interface CutLine {
  readonly offset: number;
  readonly bytes: Buffer;
}

/** How many of a line's stores, oldest first, a cut lets through: 0 to `stores`. */
export type LineChoice = (stores: readonly number[]) => number;

/**
 * The stores that a cut may undo, by line, over an image that holds what is durable. A store
 * is durable when a persist that covers its line and began after it has settled.
 */
export class PendingLines {
  readonly #image: DiskImage;
  readonly #lines = new Map<number, Piece[]>();
  /** Of the durable image, against what it was at first. */
  #identity = 0n;

  constructor(image: DiskImage) {
    this.#image = image;
  }

  get size(): number {
    return this.#lines.size;
  }

  /** Ages of the stores that are not wholly durable, oldest first. */
  ages(): number[] {
    const ages = new Set<number>();
    for (const pieces of this.#lines.values()) for (const { age } of pieces) ages.add(age);
    return [...ages].toSorted((a, b) => a - b);
  }

  store(age: number, offset: number, bytes: Buffer): void {
    for (let at = offset; at < offset + bytes.length;) {
      const line = Math.floor(at / LINE);
      const end = Math.min((line + 1) * LINE, offset + bytes.length);
      const piece = { age, start: at % LINE, bytes: bytes.subarray(at - offset, end - offset) };
      const pieces = this.#lines.get(line);
      if (pieces === undefined) this.#lines.set(line, [piece]);
      else pieces.push(piece);
      at = end;
    }
  }

  /** A persist of a range, begun at place `began` of the log, has settled. */
  persisted(began: number, offset: number, length: number): void {
    const first = Math.floor(offset / LINE);
    const last = Math.floor((offset + length - 1) / LINE);
    for (const [line, pieces] of this.#lines) {
      if (line < first || line > last) continue;
      const left = pieces.filter(({ age }) => age > began);
      for (const piece of pieces) {
        if (piece.age < began) this.#makeDurable(line, piece);
      }
      if (left.length === 0) this.#lines.delete(line);
      else this.#lines.set(line, left);
    }
  }

  /** Names the image that a cut leaves: the same for the same bytes, whatever led to them. */
  identityOf(cut: readonly CutLine[]): bigint {
    let identity = this.#identity;
    for (const { offset, bytes } of cut) {
      const durable = this.#durable(offset / LINE);
      if (!durable.equals(bytes)) identity ^= lineHash(offset, durable) ^ lineHash(offset, bytes);
    }
    return identity;
  }

  /** The lines that a cut changes when it lets through what `choose` says of each. */
  cut(choose: LineChoice): CutLine[] {
    const lines: CutLine[] = [];
    for (const [line, pieces] of this.#lines) {
      const count = choose(pieces.map(({ age }) => age));
      if (count > 0) lines.push(this.#lineWith(line, pieces.slice(0, count)));
    }
    return lines;
  }

  /** As {@link cut}, with a choice for each aligned run of 8 bytes. */
  cutWords(choose: LineChoice): CutLine[] {
    const lines: CutLine[] = [];
    for (const [line, pieces] of this.#lines) {
      const ages = pieces.map(({ age }) => age);
      const bytes = Buffer.from(this.#durable(line));
      for (let word = 0; word < LINE; word += WORD) {
        for (const piece of pieces.slice(0, choose(ages))) putWord(bytes, word, piece);
      }
      if (!bytes.equals(this.#durable(line))) lines.push({ offset: line * LINE, bytes });
    }
    return lines;
  }

  /** Whether a store to [from, to) is not durable. */
  holds(from: number, to: number): boolean {
    for (let line = Math.floor(from / LINE); line < to / LINE; line++) {
      if (this.#lines.has(line)) return true;
    }
    return false;
  }

  /** Whether a cut leaves some stores to [from, to) out and lets others through. */
  isTorn(cut: ReadonlyMap<number, Buffer>, from: number, to: number): boolean {
    let isOld = true;
    let isNew = true;
    for (let line = Math.floor(from / LINE); line < to / LINE; line++) {
      const pieces = this.#lines.get(line);
      if (pieces === undefined) continue;
      const content = cut.get(line * LINE) ?? this.#durable(line);
      if (!content.equals(this.#durable(line))) isOld = false;
      if (!content.equals(this.#lineWith(line, pieces).bytes)) isNew = false;
    }
    return !isOld && !isNew;
  }

  #makeDurable(line: number, { start, bytes }: Piece): void {
    const offset = line * LINE;
    this.#identity ^= lineHash(offset, this.#durable(line));
    this.#image.put(offset + start, bytes);
    this.#identity ^= lineHash(offset, this.#durable(line));
  }

  #lineWith(line: number, pieces: readonly Piece[]): CutLine {
    const bytes = Buffer.from(this.#durable(line));
    for (const { start, bytes: stored } of pieces) bytes.set(stored, start);
    return { offset: line * LINE, bytes };
  }

  #durable(line: number): Buffer {
    return this.#image.bytes.subarray(line * LINE, (line + 1) * LINE);
  }
}

/** Puts what a store has of one word of a line. */
function putWord(line: Buffer, word: number, { start, bytes }: Piece): void {
  const from = Math.max(word, start);
  const to = Math.min(word + WORD, start + bytes.length);
  if (from < to) line.set(bytes.subarray(from - start, to - start), from);
}

/** A number for one line's content; those of all lines, combined, name a whole image. */
function lineHash(offset: number, bytes: Uint8Array): bigint {
  const digest = createHash('sha1').update(`${offset} `).update(bytes).digest();
  return digest.readBigUInt64LE(0);
}
