import { DaxdError } from '../../lib/errno.js';

/** As ext4 stores a list: a version, then entries of a tag and permissions, some with an id. */
const VERSION = 1;
const HEADER_SIZE = 4;
const SHORT_ENTRY_SIZE = 4;
const LONG_ENTRY_SIZE = 8;

/** Whom an entry is about (linux/posix_acl.h). */
const Tag = { UserObj: 0x01, User: 0x02, GroupObj: 0x04, Group: 0x08, Mask: 0x10, Other: 0x20 };

/**
 * An access control list after a chmod: what it says of owner, group class and others follows
 * the mode. The kernel asks the list and not the mode.
 *
 * @throws DaxdError EUCLEAN when the bytes are no list
 * @kernel posix_acl_chmod (fs/posix_acl.c)
 */
export function chmodAcl(stored: Buffer, mode: number, what: string): Buffer {
  const acl = Buffer.from(stored);
  const places = placesOf(acl, what);
  const set = (tag: number, permissions: number): void => {
    const at = places.get(tag);
    if (at !== undefined) acl.writeUInt16LE(permissions, at + 2);
  };
  set(Tag.UserObj, (mode >> 6) & 7);
  set(places.has(Tag.Mask) ? Tag.Mask : Tag.GroupObj, (mode >> 3) & 7);
  set(Tag.Other, mode & 7);
  return acl;
}

/** What a new inode gets from the default list of its directory. */
export interface InheritedAcl {
  /** The mode, without what the list does not give. */
  readonly mode: number;
  /** Undefined where the mode says all. */
  readonly acl: Buffer | undefined;
}

/**
 * The access list of a new inode: the default list of its directory, without what the mode
 * does not give.
 *
 * @throws DaxdError EUCLEAN when the bytes are no list
 * @kernel posix_acl_create (fs/posix_acl.c)
 */
export function inheritAcl(stored: Buffer, mode: number, what: string): InheritedAcl {
  const acl = Buffer.from(stored);
  const places = placesOf(acl, what);
  let inherited = mode;
  const limit = (tag: number, shift: number): void => {
    const at = places.get(tag);
    if (at === undefined) throw notAnAcl(acl, what);
    const permissions = acl.readUInt16LE(at + 2) & (mode >> shift) & 7;
    acl.writeUInt16LE(permissions, at + 2);
    inherited = (inherited & ~(7 << shift)) | (permissions << shift);
  };
  limit(Tag.UserObj, 6);
  limit(places.has(Tag.Mask) ? Tag.Mask : Tag.GroupObj, 3);
  limit(Tag.Other, 0);
  const isMore = [Tag.User, Tag.Group, Tag.Mask].some((tag) => places.has(tag));
  return { mode: inherited, acl: isMore ? acl : undefined };
}

/** Where the entry of each tag stands. */
function placesOf(acl: Buffer, what: string): Map<number, number> {
  const places = new Map<number, number>();
  if (acl.length < HEADER_SIZE || acl.readUInt32LE(0) !== VERSION) {
    throw notAnAcl(acl, what);
  }
  for (let at = HEADER_SIZE; at < acl.length;) {
    if (at + SHORT_ENTRY_SIZE > acl.length) throw notAnAcl(acl, what);
    const tag = acl.readUInt16LE(at);
    places.set(tag, at);
    at += tag === Tag.User || tag === Tag.Group ? LONG_ENTRY_SIZE : SHORT_ENTRY_SIZE;
  }
  return places;
}

function notAnAcl(acl: Buffer, what: string): DaxdError {
  return new DaxdError(
    'EUCLEAN',
    `access control list of ${what}: ${acl.length} bytes are none; remove it with setfacl -b`,
  );
}
