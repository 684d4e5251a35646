import { PAGE_SIZE } from '../lib/units.js';
import { PfnMode, type PfnSuperblock } from './info-block.js';
import type { NdNamespace } from './nd-namespace.js';
import type { PfnSetup } from './nvdimm-setup-pfn.js';
import type { Personality } from './pmem-attach-disk.js';

/** What an attached namespace is; sizes and offsets in bytes. */
export interface NamespaceInfo {
  readonly mode: 'fsdax' | 'raw';
  /** Where the kernel keeps the page structures; `none` on a raw namespace. */
  readonly map: 'dev' | 'mem' | 'none';
  /** Undefined on a raw namespace, as is the version. */
  readonly uuid: string | undefined;
  /** Bytes from the padded start to byte 0 of the disk. */
  readonly dataOffset: number;
  /** Data pages. */
  readonly npfns: number;
  readonly align: number;
  readonly startPad: number;
  readonly endTrunc: number;
  /** Such as `1.4`. */
  readonly infoBlockVersion: string | undefined;
}

/** What a namespace turned out to be. */
export function namespaceInfo(
  namespace: NdNamespace,
  personality: Personality,
  setup: PfnSetup | undefined,
): NamespaceInfo {
  if (personality.kind === 'raw' || setup === undefined) return rawInfo(namespace);
  return pfnInfo(personality.sb, setup);
}

function pfnInfo(sb: PfnSuperblock, setup: PfnSetup): NamespaceInfo {
  return {
    mode: 'fsdax',
    map: sb.mode === PfnMode.Pmem ? 'dev' : 'mem',
    uuid: sb.uuid,
    dataOffset: setup.dataOffset,
    npfns: setup.npfns,
    align: sb.align,
    startPad: sb.startPad,
    endTrunc: sb.endTrunc,
    infoBlockVersion: `${sb.versionMajor}.${sb.versionMinor}`,
  };
}

function rawInfo(namespace: NdNamespace): NamespaceInfo {
  return {
    mode: 'raw',
    map: 'none',
    uuid: undefined,
    dataOffset: 0,
    npfns: Math.floor(namespace.sizeBytes / PAGE_SIZE),
    align: namespace.backing.alignBytes,
    startPad: 0,
    endTrunc: 0,
    infoBlockVersion: undefined,
  };
}
