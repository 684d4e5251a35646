import { DaxdError } from '../../lib/errno.js';
import type { Inode } from './inode.js';
import { InodeFlag, ModeType } from './layout.js';

/** Bits of the numbers that Linux has for a device. */
const MAJOR_MAX = 2 ** 12 - 1;
const MINOR_MAX = 2 ** 20 - 1;
/** What the old encoding, of 16 bits, holds of each. */
const OLD_MAX = 255;
const PERMISSIONS = 0o7777;

/** Which device a node stands for. */
export interface DeviceNumber {
  readonly major: number;
  readonly minor: number;
}

/** A node without blocks: a device, a fifo or a socket. */
export interface SpecialNode extends Partial<DeviceNumber> {
  readonly type: 'char' | 'block' | 'fifo' | 'socket';
  /** Permission bits. */
  readonly mode: number;
}

const TYPE_BITS: Readonly<Record<SpecialNode['type'], number>> = {
  char: ModeType.Char,
  block: ModeType.Block,
  fifo: ModeType.Fifo,
  socket: ModeType.Socket,
};

/**
 * Type and permission bits of a node that is to be made.
 *
 * @throws DaxdError EINVAL for bits that are no permissions, and for a device number that is
 *   missing, too large, or given for what is no device
 */
export function modeOfNode(node: SpecialNode): number {
  const { type, mode, major, minor } = node;
  if ((mode & ~PERMISSIONS) !== 0) {
    throw new DaxdError('EINVAL', `mode 0${mode.toString(8)} has more than permissions`);
  }
  if (type !== 'char' && type !== 'block') {
    if (major !== undefined || minor !== undefined) {
      throw new DaxdError('EINVAL', `a ${type} has no device number`);
    }
  } else if (major === undefined || minor === undefined) {
    throw new DaxdError('EINVAL', `a ${type} device has a number: give its major and its minor`);
  } else if (!isWithin(major, MAJOR_MAX) || !isWithin(minor, MINOR_MAX)) {
    throw new DaxdError(
      'EINVAL',
      `${type} device ${major}:${minor}: give a major up to ${MAJOR_MAX}, a minor up to ${MINOR_MAX}`,
    );
  }
  return TYPE_BITS[type] | mode;
}

/**
 * Makes a new inode one without blocks, and a device's number its content: in 16 bits where it
 * fits, else in the 32 bits behind them.
 *
 * @kernel old_encode_dev, new_encode_dev (linux/kdev_t.h)
 */
export function fillNode(inode: Inode, { major = 0, minor = 0 }: SpecialNode): void {
  inode.flags &= ~InodeFlag.Extents;
  inode.iBlock.fill(0);
  if (major <= OLD_MAX && minor <= OLD_MAX) {
    inode.iBlock.writeUInt32LE(major * 256 + minor, 0);
  } else {
    const high = Math.floor(minor / 256);
    inode.iBlock.writeUInt32LE((minor % 256) + major * 2 ** 8 + high * 2 ** 20, 4);
  }
}

/** The number in a device's inode. */
export function deviceOf({ iBlock }: Inode): DeviceNumber {
  const old = iBlock.readUInt32LE(0);
  if (old !== 0) return { major: (old >>> 8) & 0xff, minor: old & 0xff };
  const wide = iBlock.readUInt32LE(4);
  return { major: (wide >>> 8) & 0xfff, minor: (wide & 0xff) + (wide >>> 20) * 256 };
}

function isWithin(value: number | undefined, max: number): boolean {
  return value !== undefined && Number.isInteger(value) && value >= 0 && value <= max;
}
