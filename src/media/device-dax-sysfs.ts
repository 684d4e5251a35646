import { readFile, readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { DaxdError } from '../lib/errno.js';
import { isAligned, PAGE_SIZE } from '../lib/units.js';
import type { DeviceNumber } from './device-number.js';
import { WINDOW_BYTES } from './mapping.js';
import { fileSystemError } from './system-call-error.js';

/** What sysfs tells of a device-dax node; stat says size 0 of all of them. */
export interface DeviceDaxGeometry {
  readonly sizeBytes: number;
  /** Offsets and lengths of mappings are multiples of it: 4 KiB, 2 MiB or 1 GiB. */
  readonly alignBytes: number;
}

/** The node whose geometry is asked for. */
export interface DeviceDaxNode extends DeviceNumber {
  /** Where it lies in /dev, for messages. */
  readonly path: string;
  /** Where sysfs is mounted. */
  readonly sysfsRoot: string;
}

/**
 * Reads size and alignment of a device-dax node from /sys/dev/char/MAJ:MIN, decimal bytes
 * both (Documentation/ABI/testing/sysfs-bus-dax).
 *
 * @throws DaxdError ENODEV for a node of any other driver, EINVAL for a geometry that daxd
 *   cannot map.
 */
export async function readDeviceDaxGeometry(node: DeviceDaxNode): Promise<DeviceDaxGeometry> {
  const directory = join(node.sysfsRoot, 'dev/char', `${node.major}:${node.minor}`);
  const subsystem = await subsystemOf(directory, node);
  if (subsystem !== 'dax') {
    throw new DaxdError(
      'ENODEV',
      `${node.path} (${node.major}:${node.minor}) belongs to subsystem "${subsystem}", not "dax": ` +
        'give a regular file, or a device-dax node such as /dev/dax0.0',
    );
  }
  const sizeBytes = await readNumber(join(directory, 'size'));
  const alignBytes = await readNumber(join(directory, 'align'));
  if (sizeBytes === 0) {
    throw new DaxdError(
      'EINVAL',
      `${node.path} has size 0: give it memory with daxctl reconfigure-device or ndctl`,
    );
  }
  if (alignBytes < PAGE_SIZE || !isAligned(WINDOW_BYTES, alignBytes)) {
    throw new DaxdError(
      'EINVAL',
      `${node.path} has alignment ${alignBytes}: daxd maps 4096, 2 MiB and 1 GiB`,
    );
  }
  if (!isAligned(sizeBytes, alignBytes)) {
    throw new DaxdError(
      'EINVAL',
      `${node.path}: size ${sizeBytes} is not a multiple of its alignment ${alignBytes}`,
    );
  }
  return { sizeBytes, alignBytes };
}

async function subsystemOf(directory: string, node: DeviceDaxNode): Promise<string> {
  try {
    return basename(await readlink(join(directory, 'subsystem')));
  } catch (cause) {
    throw new DaxdError(
      'ENODEV',
      `${node.path} is device ${node.major}:${node.minor}, which ${directory} does not describe: ` +
        'is its driver loaded and sysfs mounted?',
      { cause },
    );
  }
}

async function readNumber(path: string): Promise<number> {
  let text: string;
  try {
    text = (await readFile(path, 'ascii')).trim();
  } catch (cause) {
    throw fileSystemError(`read ${path}`, cause);
  }
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (Number.isSafeInteger(value)) return value;
  throw new DaxdError('EINVAL', `${path} says "${text}": daxd expects bytes, in decimal`);
}
