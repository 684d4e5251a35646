import { constants } from 'node:fs';

import { PAGE_SIZE, roundDown, roundUp } from '../lib/units.js';
import { readDeviceDaxGeometry } from './device-dax-sysfs.js';
import { deviceNumber } from './device-number.js';
import { coverWindow, mapThroughLibc } from './libc.js';
import { WINDOW_BYTES } from './mapping.js';
import { openFile } from './open-file.js';

/** Bytes of a backing, counted from its start. */
export interface LentRange {
  readonly offset: number;
  readonly length: number;
}

/** What was lent of a backing. */
export interface LentRequest {
  /** The backing. */
  readonly path: string;
  readonly ranges: readonly LentRange[];
  /** The pages are write-protected: a store through a view ends the process with SIGSEGV. */
  readonly readOnly: boolean;
}

/** One view of a range; `offset` is that of its first byte in the backing. */
export interface LentView {
  readonly offset: number;
  readonly bytes: Buffer;
}

/**
 * Ranges of somebody else's backing, mapped for as long as they are lent. Afterwards they are
 * covered: a view that is still used then touches memory of this process alone.
 */
export class LentMapping {
  /** In the order of the ranges, each in pieces of at most 1 GiB. */
  readonly views: readonly LentView[];
  readonly #windows: readonly Buffer[];
  readonly #readOnly: boolean;

  private constructor(windows: readonly Buffer[], views: readonly LentView[], readOnly: boolean) {
    this.#windows = windows;
    this.views = views;
    this.#readOnly = readOnly;
  }

  /**
   * Maps the ranges, shared; whole pages, or what a device-dax node maps at once, around them.
   *
   * @throws DaxdError with the errno of open(2) or mmap(2).
   */
  static async open({ path, ranges, readOnly }: LentRequest): Promise<LentMapping> {
    const handle = await openFile(path, readOnly ? constants.O_RDONLY : constants.O_RDWR);
    try {
      const stat = await handle.stat();
      const node = { ...deviceNumber(stat.rdev), path, sysfsRoot: '/sys' };
      const align = stat.isCharacterDevice()
        ? (await readDeviceDaxGeometry(node)).alignBytes
        : PAGE_SIZE;
      const windows: Buffer[] = [];
      const views: LentView[] = [];
      for (const range of ranges) {
        for (const { offset, length } of piecesOf(range, align)) {
          const window = mapThroughLibc({ path, fd: handle.fd, offset, length, readOnly });
          windows.push(window);
          views.push(viewOf(window, offset, range));
        }
      }
      return new LentMapping(windows, views, readOnly);
    } finally {
      await handle.close();
    }
  }

  /**
   * Ends the access of every view at once; what was stored before stays stored. May be called
   * again.
   *
   * @throws DaxdError ENOMEM; views may reach the backing still then.
   */
  cover(): void {
    for (const window of this.#windows) coverWindow(window, { readOnly: this.#readOnly });
  }
}

function* piecesOf(range: LentRange, align: number): Generator<LentRange> {
  const end = roundUp(range.offset + range.length, align);
  for (let at = roundDown(range.offset, align); at < end; at += WINDOW_BYTES) {
    yield { offset: at, length: Math.min(WINDOW_BYTES, end - at) };
  }
}

/** What of a window is lent. */
function viewOf(window: Buffer, start: number, { offset, length }: LentRange): LentView {
  const from = Math.max(start, offset);
  const to = Math.min(start + window.length, offset + length);
  return { offset: from, bytes: window.subarray(from - start, to - start) };
}
