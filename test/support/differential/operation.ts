/** Where bytes of a file lie. */
interface InFile {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** Which of its names a path means where its last part is a symlink. */
interface Follow {
  readonly follow: boolean;
}

/** What a new device node or its like is. */
export type NodeType = 'char' | 'block' | 'fifo' | 'socket';

/** What `setAttributes` is asked for. */
export interface Attributes {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly atimeNs?: bigint;
  readonly mtimeNs?: bigint;
}

/** One member for each kind. */
type Each<K extends string, T> = K extends string ? { readonly kind: K } & Readonly<T> : never;

/**
 * One operation of a differential program: complete in itself, so that a program can be run
 * again without those that do not matter. Bytes are made from `fill`, see `bytesOf`.
 */
export type Operation =
  | Each<'create' | 'mkdir' | 'remove', { path: string }>
  | Each<'write', InFile & { fill: number }>
  | Each<'append', { path: string; length: number; fill: number }>
  | Each<'replace', { path: string; exclusive: boolean; length: number; fill: number }>
  | Each<'truncate', { path: string; size: number }>
  | Each<'fallocate' | 'zero', InFile & { keepSize: boolean }>
  | Each<'punch' | 'collapse' | 'insert' | 'read' | 'lend', InFile>
  | Each<'seek', { path: string; offset: number; whence: 'data' | 'hole' }>
  | Each<'rename', { path: string; to: string; noReplace: boolean }>
  | Each<'link', { path: string; to: string }>
  | Each<'symlink', { path: string; target: string }>
  | Each<'mknod', { path: string; type: NodeType; mode: number; major: number; minor: number }>
  | Each<'attributes', Follow & { path: string; set: Attributes }>
  | Each<'setXattr', SetXattr>
  | Each<'getXattr' | 'removeXattr', Follow & { path: string; name: string }>
  | Each<'crowd' | 'thin', Crowding>
  | Each<'scatter', Scattering>
  /** Opens a file, removes its name, writes and reads what is open, and closes it. */
  | Each<'unlinkOpen', InFile & { fill: number }>;

interface SetXattr extends Follow {
  readonly path: string;
  readonly name: string;
  readonly length: number;
  readonly fill: number;
  readonly only?: 'create' | 'replace';
}

/** Many links to one file, in one directory: names enough for a hash tree to grow and split. */
interface Crowding {
  readonly path: string;
  readonly directory: string;
  readonly first: number;
  readonly count: number;
  readonly nameLength: number;
}

/** Its kinds. */
export type OperationKind = Operation['kind'];

/** Many small writes with holes between them: extents enough for a tree to grow deep. */
interface Scattering {
  readonly path: string;
  readonly offset: number;
  readonly count: number;
  readonly stride: number;
  readonly fill: number;
}

/** The operations of one kind, or of several. */
export type OperationOf<K extends OperationKind> = Extract<Operation, { kind: K }>;

/** What an operation answers: bytes as hex, or an offset; nothing where both sides must agree on nothing. */
export type Answer = string | number | undefined | void;

/** What an operation came to: an errno name, or what it answered. */
export interface Outcome {
  readonly errno?: string;
  readonly answer?: string | number;
}

/** What has both a way to run operations, and a tree to look at. */
export interface Target {
  run(operation: Operation): Promise<Outcome>;
}

/** How much `unlinkOpen` reads back, from the end of the file. */
export const READ_BACK_BYTES = 32_768;

/** `length` bytes that depend on `fill` and on where they stand; none is zero. */
export function bytesOf(fill: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let value = Math.imul(fill + 1, 0x9e3779b1) >>> 0;
  for (let i = 0; i < length; i++) {
    value = (Math.imul(value, 1664525) + 1013904223) >>> 0;
    bytes[i] = (value >>> 24) | 1;
  }
  return bytes;
}

/** The paths that a `crowd` links, or a `thin` removes. */
export function crowdPaths({ directory, first, count, nameLength }: Crowding): string[] {
  return Array.from({ length: count }, (_, i) => {
    const name = `c${first + i}-`.padEnd(nameLength, 'x');
    return directory === '' ? name : `${directory}/${name}`;
  });
}

/** The writes of a `scatter`: where, and what. */
export function* scatteredBytes({
  offset,
  count,
  stride,
  fill,
}: Scattering): Generator<[number, Buffer]> {
  for (let i = 0; i < count; i++) yield [offset + i * stride, bytesOf(fill + i, 1 + (i % 60))];
}

/** An operation in one line; long names and targets are cut. */
export function describeOperation({ kind, ...rest }: Operation): string {
  const shown = Object.entries(rest).map(([key, value]) => `${key}=${describeValue(value)}`);
  return `${kind} ${shown.join(' ')}`;
}

function describeValue(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'object' && value !== null) {
    const parts = Object.entries(value).map(([key, inner]) => `${key}:${describeValue(inner)}`);
    return `{${parts.join(',')}}`;
  }
  const text = String(value);
  return text.length <= 80 ? text : `${text.slice(0, 60)}…(${Buffer.byteLength(text)} bytes)`;
}
