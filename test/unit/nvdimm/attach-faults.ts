import { DaxdError } from '../../../src/lib/errno.js';
import type { AttachStepName, BeforeStep } from '../../../src/nvdimm/attach-steps.js';

/** The three ways to map, by the name of their step. */
export const BRANCHES = ['map-pfn', 'map-pages', 'map-raw'] as const;
export type Branch = (typeof BRANCHES)[number];

const SNIFFS: Record<Branch, readonly AttachStepName[]> = {
  'map-pfn': ['sniff-btt', 'sniff-pfn'],
  'map-pages': ['sniff-btt', 'sniff-pfn', 'sniff-dax'],
  'map-raw': [],
};

/** The release actions that a whole attach registers, oldest first, by the step that does. */
const REGISTERED: Record<Branch, readonly (readonly [AttachStepName | undefined, string])[]> = {
  'map-pfn': [
    [undefined, 'backing'],
    ['request-mem-region', 'mem region'],
    ['alloc-queue', 'queue'],
    ['map-pfn', 'pagemap ops'],
    ['map-pfn', 'pagemap'],
    ['register-freeze', 'queue freeze'],
    ['add-disk', 'disk'],
  ],
  'map-pages': [
    [undefined, 'backing'],
    ['request-mem-region', 'mem region'],
    ['alloc-queue', 'queue'],
    ['map-pages', 'pagemap ops'],
    ['map-pages', 'pagemap'],
    ['register-freeze', 'queue freeze'],
    ['add-disk', 'disk'],
  ],
  'map-raw': [
    [undefined, 'backing'],
    ['request-mem-region', 'mem region'],
    ['alloc-queue', 'queue'],
    ['map-raw', 'memremap'],
    ['register-freeze', 'queue freeze'],
    ['add-disk', 'disk'],
  ],
};

/** Every step of an attach in this branch, in order. */
export function stepsOf(branch: Branch): AttachStepName[] {
  return [
    'common-probe',
    'enable-raw-access',
    ...SNIFFS[branch],
    'alloc-pmem',
    ...(branch === 'map-pfn' ? (['setup-pfn'] as const) : []),
    'disable-raw-access',
    'request-mem-region',
    'alloc-queue',
    'share-usage-counter',
    branch,
    'register-freeze',
    'check-map',
    'queue-limits',
    'alloc-disk',
    'badblocks',
    'alloc-dax',
    'add-disk',
    'revalidate',
  ];
}

/** What is released, in order, after `step` failed; after a whole attach without a step. */
export function releasesAfter(branch: Branch, step?: AttachStepName): string[] {
  const steps = stepsOf(branch);
  const failedAt = step === undefined ? steps.length : steps.indexOf(step);
  return REGISTERED[branch]
    .filter(([by]) => {
      if (by === undefined || steps.indexOf(by) < failedAt) return true;
      // The freeze is registered even where the mapping failed.
      return by === 'register-freeze' && step === branch;
    })
    .map(([, name]) => name)
    .toReversed();
}

/** Fails `step` with ENOMEM. */
export function failAt(step: AttachStepName): BeforeStep {
  return (current) => {
    if (current === step) throw new DaxdError('ENOMEM', `injected at ${step}`);
  };
}
