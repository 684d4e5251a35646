import { deviceOf } from './device-node.js';
import type { DeviceNumber } from './device-node.js';
import type { Inode, InodeType } from './inode.js';
import { readTarget } from './symlink.js';
import type { Volume } from './volume.js';

/** What `stat` answers. */
export interface Stat {
  readonly inode: number;
  /** Tells files apart that had the same inode one after the other. */
  readonly generation: number;
  readonly type: InodeType;
  /** Type and permission bits. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Of 512 bytes. */
  readonly blocks: number;
  readonly atimeNs: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  /** Of a symlink only; bytes that are not UTF-8 come out as replacement characters. */
  readonly target?: string;
  /** Of a char or block device only. */
  readonly device?: DeviceNumber;
}

/** What `stat` says of an inode. @throws DaxdError EBADMSG, EUCLEAN for a damaged symlink */
export function statOf(volume: Volume, inode: Inode): Stat {
  const { generation, type, mode, linksCount: nlink, uid, gid, size, sectors: blocks } = inode;
  const { atimeNs, mtimeNs, ctimeNs } = inode;
  const times = { atimeNs, mtimeNs, ctimeNs };
  const stat = {
    inode: inode.number,
    generation,
    type,
    mode,
    nlink,
    uid,
    gid,
    size,
    blocks,
    ...times,
  };
  if (type === 'char' || type === 'block') return { ...stat, device: deviceOf(inode) };
  if (type !== 'symlink') return stat;
  return { ...stat, target: readTarget(volume, volume, inode).toString() };
}
