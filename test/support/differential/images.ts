import { closeSync, openSync, writeSync } from 'node:fs';

import { mkfsExt4 } from '../../../src/fs/ext4/mkfs.js';
import { systemClock } from '../../../src/lib/clock.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { MIB } from '../../../src/lib/units.js';
import { BackingRange } from '../../../src/media/backing-range.js';
import { openBacking } from '../../../src/media/open-backing.js';
import { runJudge } from '../ext4-image.js';

/** Options of mke2fs for each kind of image, or none where daxd's own mkfs makes it. */
const KINDS = {
  own: undefined,
  default: [],
  newer: ['-O', 'orphan_file,metadata_csum_seed'],
  groups: ['-g', '2048', '-N', '8192'],
  narrow: ['-O', '^64bit'],
} as const;

/** A kind of image: who made it, with which features. */
export type ImageKind = keyof typeof KINDS;

/** All kinds. */
export const IMAGE_KINDS = Object.keys(KINDS) as ImageKind[];

/** A byte that no operation writes as such: it is in every free block, so a stale byte shows. */
const STALE = 0xa5;

/** Makes a filesystem over memory full of 0xA5. */
export async function makeDirtyImage(
  path: string,
  kind: ImageKind,
  sizeBytes: number,
): Promise<void> {
  const dirt = Buffer.alloc(MIB, STALE);
  const fd = openSync(path, 'w');
  for (let at = 0; at < sizeBytes; at += MIB) writeSync(fd, dirt, 0, MIB, at);
  closeSync(fd);

  const args = KINDS[kind];
  if (args === undefined) {
    const backing = await openBacking(path, { log: silentLogger });
    const range = new BackingRange(backing, 0, sizeBytes);
    await mkfsExt4(range, { label: 'differential', clock: systemClock });
    await backing.close();
    return;
  }
  const common = ['-q', '-F', '-t', 'ext4', '-b', '4096', '-E', 'nodiscard'];
  const { status, output } = runJudge('mke2fs', [...common, ...args, path]);
  if (status !== 0) throw new Error(`mke2fs of ${kind} exits ${status}: ${output}`);
}
