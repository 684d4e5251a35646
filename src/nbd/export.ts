import type { RawMemory } from '../media/raw-memory.js';
import type { SharedPageRefs } from '../mm/page-refs.js';
import type { MetaContext } from './meta-contexts.js';
import { NbdFlag, type ReplyStyle } from './protocol.js';

/** What is told of an export before it is opened; plain values, which cross threads. */
export interface ExportInfo {
  /** Such as `pmem0p1`; what a client called the default export has its own name here. */
  readonly name: string;
  readonly description: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** What BLOCK_STATUS can report of it. */
  readonly contexts: readonly MetaContext[];
}

/** What a worker needs to serve an export; plain values, which cross threads. */
export interface OpenExport {
  readonly info: ExportInfo;
  readonly memory: RawMemory;
  /** Byte 0 of the export, in bytes of the backing. */
  readonly start: number;
  /** The page counts under it; undefined where the device has none. */
  readonly pages: SharedPageRefs | undefined;
}

/** How the server finds exports: asked by a worker, answered by the thread that owns them. */
export interface ExportDirectory {
  /** Name and description of each, in the order of the disk. */
  list(): readonly Pick<ExportInfo, 'name' | 'description'>[];

  /** @throws DaxdError ENOENT; EBUSY naming who has it; `draining`. */
  describe(name: string): ExportInfo;

  /** Takes the export for this connection. @throws DaxdError as `describe` does. */
  open(name: string): OpenExport;
}

/** The transmission flags of an export, for a client that takes replies of that style. */
export function transmissionFlags({ readOnly }: ExportInfo, style: ReplyStyle): number {
  return (
    NbdFlag.HasFlags |
    (readOnly ? NbdFlag.ReadOnly : 0) |
    NbdFlag.SendFlush |
    NbdFlag.SendFua |
    NbdFlag.SendTrim |
    NbdFlag.SendWriteZeroes |
    // A reply without chunks comes in one piece anyway.
    (style === 'simple' ? 0 : NbdFlag.SendDf) |
    NbdFlag.CanMultiConn |
    NbdFlag.SendCache |
    NbdFlag.SendFastZero
  );
}
