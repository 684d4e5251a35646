import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';

import { LatencyHistogram, FAST_BOUNDS_SECONDS } from '../../../src/lib/latency-histogram.js';
import { PAGE_SIZE } from '../../../src/lib/units.js';
import type { Backing } from '../../../src/media/backing.js';
import { Mapping } from '../../../src/media/mapping.js';

/** Bytes that are compared and copied at once between an image and a file. */
const CHUNK = 32768;
const ZEROS = Buffer.alloc(CHUNK);

/**
 * A whole filesystem in memory, most of it never touched and so without memory. What is
 * stored between {@link begin} and {@link rollback} goes again, page by page.
 */
export class DiskImage {
  readonly bytes: Buffer;
  /** Chunks that may hold something else than zeros. */
  readonly live = new Set<number>();
  #undo: Map<number, Buffer> | undefined;

  constructor(sizeBytes: number) {
    // Not allocUnsafe: zeroed memory of this size costs nothing before it is touched.
    this.bytes = Buffer.alloc(sizeBytes);
  }

  static fromFile(path: string): DiskImage {
    const fd = openSync(path, 'r');
    try {
      const image = new DiskImage(fstatSync(fd).size);
      const chunk = Buffer.alloc(CHUNK);
      for (let at = 0; at < image.bytes.length; at += CHUNK) {
        const length = readSync(fd, chunk, 0, CHUNK, at);
        const part = chunk.subarray(0, length);
        if (!part.equals(ZEROS.subarray(0, length))) image.put(at, part);
      }
      return image;
    } finally {
      closeSync(fd);
    }
  }

  copy(): DiskImage {
    const image = new DiskImage(this.bytes.length);
    for (const chunk of this.live) {
      image.put(chunk * CHUNK, this.bytes.subarray(chunk * CHUNK, (chunk + 1) * CHUNK));
    }
    return image;
  }

  put(offset: number, data: Uint8Array): void {
    if (data.length === 0) return;
    this.#touch(offset, data.length);
    this.bytes.set(data, offset);
  }

  fill(offset: number, length: number, value: number): void {
    if (length === 0) return;
    this.#touch(offset, length);
    this.bytes.fill(value, offset, offset + length);
  }

  begin(): void {
    if (this.#undo !== undefined) throw new Error('one trial at a time');
    this.#undo = new Map();
  }

  rollback(): void {
    for (const [page, old] of this.#undo ?? []) this.bytes.set(old, page * PAGE_SIZE);
    this.#undo = undefined;
  }

  /** Pages whose content is not what it was at {@link begin}, in order. */
  changedPages(): number[] {
    const pages = [...(this.#undo ?? [])].filter(
      ([page, old]) => !old.equals(this.bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE)),
    );
    return pages.map(([page]) => page).toSorted((a, b) => a - b);
  }

  /** Where the two differ, as offsets of pages; for a check that a log is complete. */
  differences(other: DiskImage): number[] {
    const pages: number[] = [];
    if (this.bytes.equals(other.bytes)) return pages;
    for (let at = 0; at < this.bytes.length; at += PAGE_SIZE) {
      const mine = this.bytes.subarray(at, at + PAGE_SIZE);
      if (!mine.equals(other.bytes.subarray(at, at + PAGE_SIZE))) pages.push(at);
    }
    return pages;
  }

  #touch(offset: number, length: number): void {
    const last = offset + length - 1;
    for (let chunk = Math.floor(offset / CHUNK); chunk <= last / CHUNK; chunk++) {
      this.live.add(chunk);
    }
    if (this.#undo === undefined) return;
    for (let page = Math.floor(offset / PAGE_SIZE); page <= last / PAGE_SIZE; page++) {
      if (this.#undo.has(page)) continue;
      const old = this.bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
      this.#undo.set(page, Buffer.from(old));
    }
  }
}

/** A file that is made equal to an image for an outside judge, who may then change it. */
export class JudgeFile {
  readonly path: string;
  readonly #fd: number;
  readonly #size: number;
  /** Chunks that were written here. */
  readonly #written = new Set<number>();
  #blocks = 0;
  readonly #chunk = Buffer.alloc(CHUNK);

  constructor(path: string, sizeBytes: number) {
    this.path = path;
    this.#size = sizeBytes;
    this.#fd = openSync(path, 'w+');
    this.#empty();
  }

  /** Writes only what differs, so that a cut costs little. */
  makeEqual(image: DiskImage): void {
    // A judge wrote where nobody had: start anew, rather than look for the place.
    if (fstatSync(this.#fd).blocks !== this.#blocks) this.#empty();
    for (const chunk of new Set([...this.#written, ...image.live])) {
      const at = chunk * CHUNK;
      const wanted = image.bytes.subarray(at, at + CHUNK);
      const have = this.#chunk.subarray(0, wanted.length);
      if (this.#written.has(chunk)) readSync(this.#fd, have, 0, have.length, at);
      else if (wanted.equals(ZEROS.subarray(0, wanted.length))) continue;
      if (this.#written.has(chunk) && have.equals(wanted)) continue;
      writeSync(this.#fd, wanted, 0, wanted.length, at);
      this.#written.add(chunk);
    }
    this.#blocks = fstatSync(this.#fd).blocks;
  }

  /** What the judge left, for daxd's own reader; nothing may be stored to it. */
  backing(): Backing {
    return trialBacking(new FileMapping(this.#fd, this.#size));
  }

  close(): void {
    closeSync(this.#fd);
  }

  #empty(): void {
    ftruncateSync(this.#fd, 0);
    ftruncateSync(this.#fd, this.#size);
    this.#written.clear();
    this.#blocks = 0;
  }
}

/** Reads a file through read(2): reading a hole through a map would give it memory. */
class FileMapping extends Mapping {
  readonly #fd: number;

  constructor(fd: number, size: number) {
    super({ windows: { lengthBytes: size, mapWindow: neverMap }, readOnly: true });
    this.#fd = fd;
  }

  override view(offset: number, length: number): Buffer {
    const copy = Buffer.alloc(length);
    this.read(offset, copy);
    return copy;
  }

  override views(offset: number, length: number): Buffer[] {
    return [this.view(offset, length)];
  }

  override read(offset: number, target: Uint8Array): void {
    if (offset + target.length > this.length) throw new Error('a read past the end of the image');
    readSync(this.#fd, target, 0, target.length, offset);
  }

  override write(): void {
    throw new Error('a store to an image that is open read-only');
  }

  override fill(): void {
    throw new Error('a store to an image that is open read-only');
  }
}

function neverMap(): Buffer {
  throw new Error('a file under judgement is not mapped');
}

/** Stores go to the image, so that it can take them back. */
export class ImageMapping extends Mapping {
  readonly image: DiskImage;

  constructor(image: DiskImage) {
    super({ windows: [image.bytes], readOnly: false });
    this.image = image;
  }

  override write(offset: number, source: Uint8Array): void {
    this.image.put(offset, source);
  }

  override fill(offset: number, length: number, value: number): void {
    this.image.fill(offset, length, value);
  }
}

/** How {@link trialBacking} makes stores durable; at once by default. */
export type Persist = (offset: number, length: number) => Promise<void>;

/** A backing over any mapping. */
export function trialBacking(mapping: Mapping, persist: Persist = async () => {}): Backing {
  return {
    path: '(power cut)',
    kind: 'file',
    sizeBytes: mapping.length,
    alignBytes: PAGE_SIZE,
    readOnly: mapping.readOnly,
    persistence: 'none',
    sparse: false,
    created: false,
    mapping,
    persistLatency: new LatencyHistogram(FAST_BOUNDS_SECONDS),
    persist,
    checkSize() {},
    async close() {},
  };
}
