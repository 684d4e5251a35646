import { Type } from 'typebox';
import type { TInteger, TObject, TProperties, TString } from 'typebox';

import { LIST_MAX } from '../../lease/limits.js';

/** How long a long poll may wait, in milliseconds. */
export const WAIT_MS_MAX = 600_000;

/** An object that refuses members it does not know. */
export function strict<T extends TProperties>(properties: T): TObject<T> {
  return Type.Object(properties, { additionalProperties: false });
}

/** Bytes or a count: an integer that a double holds exactly. */
export function count(description: string): TInteger {
  return Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description });
}

/** Text that a program may be handed as an argument or in its environment, where a NUL ends it. */
export function textWithoutNul(maxLength: number, description: string): TString {
  return Type.String({ maxLength, pattern: '^[^\\u0000]*$', description });
}

/** A path from the partition's root, without `.`, `..` and empty parts; a leading slash is allowed. */
export const FilePath = Type.String({
  minLength: 1,
  description:
    "UTF-8 from the partition's root, 4095 bytes at most; `.`, `..` and empty parts are EINVAL",
});

/** Where a page of a listing starts: what the page before gave as `next_cursor`. */
export const Cursor = Type.String({
  maxLength: 1024,
  description: 'next_cursor of the page before',
});

/** How many items a page has at most. */
export const PageLimit = Type.Integer({ minimum: 1, maximum: LIST_MAX });

/** Query of a listing: which page of it. */
export const PageQuery = strict({
  cursor: Type.Optional(Cursor),
  limit: Type.Optional(PageLimit),
});

/** The partition in a path such as /v1/partitions/pmem0p1. */
export const PartitionParams = Type.Object({ partition: Type.String({ maxLength: 64 }) });
