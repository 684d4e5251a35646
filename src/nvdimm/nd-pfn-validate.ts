import { DaxdError, type ErrorCode } from '../lib/errno.js';
import { GIB, isAligned, isPowerOf, PAGE_SIZE, PMD_SIZE } from '../lib/units.js';
import {
  decodeInfoBlock,
  infoBlockChecksumHolds,
  infoBlockSignature,
  InfoBlockSignature,
  PAGE_STRUCT_BYTES,
  PfnMode,
  type PfnSuperblock,
  ZERO_UUID,
} from './info-block.js';

/** What a block is held against. */
export interface ValidateOptions {
  readonly signature: InfoBlockSignature;
  readonly namespaceBytes: number;
}

/** Mapping alignments that the page tables of x86-64 and arm64 offer. */
const SUPPORTED_ALIGNS = [PAGE_SIZE, PMD_SIZE, GIB];

const ADVICE = 'make the namespace anew with ndctl, or attach with --force-raw to reach its bytes';

interface Held {
  readonly sb: PfnSuperblock;
  readonly size: number;
}

/** One reason to refuse: the errno, and what is wrong when the check fails. */
interface Row {
  readonly code: ErrorCode;
  readonly problem: (held: Held) => string | undefined;
}

/**
 * The rows that look at decoded fields, in the kernel's order. Those that compare with the settings
 * of a device are left out: the one made here adopts the block's own.
 */
const ROWS: readonly Row[] = [
  { code: 'ENODEV', problem: parentProblem },
  { code: 'ENXIO', problem: modeProblem },
  { code: 'EOPNOTSUPP', problem: pageSizeProblem },
  { code: 'EOPNOTSUPP', problem: pageStructProblem },
  { code: 'EOPNOTSUPP', problem: daxAlignProblem },
  { code: 'EOPNOTSUPP', problem: alignProblem },
  { code: 'EOPNOTSUPP', problem: dataoffProblem },
  { code: 'EOPNOTSUPP', problem: dataAlignmentProblem },
  { code: 'EOPNOTSUPP', problem: sectionProblem },
  { code: 'EOPNOTSUPP', problem: roomProblem },
];

/**
 * Holds an info block against its namespace, a backing: it begins at physical address 0 and has
 * no label. The first failing check gives the errno.
 *
 * @param block the 4096 bytes at offset 4096 of the namespace
 * @returns the block with the fields its version lacks, and an align of 0, filled in
 * @throws DaxdError ENODEV: not a block of this kind for this namespace (another signature,
 * a bad checksum, another owner); ENXIO: no such mode; EOPNOTSUPP: a geometry that cannot be
 * used. The message names the field and its value.
 * @kernel nd_pfn_validate (drivers/nvdimm/pfn_devs.c)
 */
export function ndPfnValidate(block: Buffer, options: ValidateOptions): PfnSuperblock {
  const found = infoBlockSignature(block);
  if (found !== options.signature) {
    throw new DaxdError('ENODEV', `no ${options.signature} signature`);
  }
  if (!infoBlockChecksumHolds(block)) {
    throw new DaxdError('ENODEV', `info block: the checksum does not match the ${found} block`);
  }
  const decoded = decodeInfoBlock(block);
  const align = decoded.align === 0 ? largestPowerOfTwo(decoded.dataoff) : decoded.align;
  const sb = { ...decoded, align };
  const held = { sb, size: options.namespaceBytes };
  for (const { code, problem } of ROWS) {
    const text = problem(held);
    if (text !== undefined) throw new DaxdError(code, `info block: ${text}; ${ADVICE}`);
  }
  return sb;
}

function parentProblem({ sb }: Held): string | undefined {
  if (sb.parentUuid === ZERO_UUID) return undefined;
  return `parent uuid ${sb.parentUuid} is not the namespace's, ${ZERO_UUID}`;
}

function modeProblem({ sb }: Held): string | undefined {
  if (sb.mode === PfnMode.Ram || sb.mode === PfnMode.Pmem) return undefined;
  return `mode ${sb.mode} is neither 1 (map=mem) nor 2 (map=dev)`;
}

function pageSizeProblem({ sb }: Held): string | undefined {
  if (sb.mode !== PfnMode.Pmem || sb.pageSize <= PAGE_SIZE) return undefined;
  return `page size ${sb.pageSize} is larger than ${PAGE_SIZE}`;
}

function pageStructProblem({ sb }: Held): string | undefined {
  if (sb.mode !== PfnMode.Pmem || sb.pageStructSize >= PAGE_STRUCT_BYTES) return undefined;
  return `page struct size ${sb.pageStructSize} is smaller than ${PAGE_STRUCT_BYTES}`;
}

function daxAlignProblem({ sb }: Held): string | undefined {
  if (sb.signature !== InfoBlockSignature.Dax || SUPPORTED_ALIGNS.includes(sb.align))
    return undefined;
  return `align ${sb.align} of a devdax namespace is not 4K, 2M or 1G`;
}

function alignProblem({ sb, size }: Held): string | undefined {
  // The kernel masks with align - 1, this code divides: of another align they judge differently,
  // and what the kernel refuses would be attached. No tool writes one, so none is taken.
  if (!isPowerOf(sb.align, 2)) return `align ${sb.align} is not a power of two`;
  return sb.align > size ? `align ${sb.align} is larger than the namespace, ${size}` : undefined;
}

function dataoffProblem({ sb, size }: Held): string | undefined {
  if (sb.dataoff < size) return undefined;
  return `dataoff ${sb.dataoff} is not below the size of the namespace, ${size}: is it truncated?`;
}

function dataAlignmentProblem({ sb }: Held): string | undefined {
  const first = sb.startPad + sb.dataoff;
  if (isAligned(first, sb.align) && isAligned(sb.dataoff, PAGE_SIZE)) return undefined;
  return `dataoff ${sb.dataoff} with start_pad ${sb.startPad} puts data at ${first}, not on ${sb.align}`;
}

function sectionProblem({ sb, size }: Held): string | undefined {
  const first = sb.startPad;
  const end = size - sb.endTrunc;
  if (isAligned(first, PMD_SIZE) && isAligned(end, PMD_SIZE)) return undefined;
  return (
    `start_pad ${sb.startPad} and end_trunc ${sb.endTrunc} leave ${first} to ${end}, ` +
    'not whole blocks of 2 MiB: is it truncated?'
  );
}

function roomProblem({ sb, size }: Held): string | undefined {
  const room = size - sb.startPad - sb.endTrunc;
  if (sb.dataoff < room) return undefined;
  return `dataoff ${sb.dataoff} leaves no data in the ${room} bytes between the pads`;
}

function largestPowerOfTwo(value: number): number {
  let power = 1;
  while (power * 2 <= value) power *= 2;
  return power;
}
