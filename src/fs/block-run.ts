/** Consecutive blocks of a partition. */
export interface BlockRun {
  /** The first one's number on the partition. */
  readonly start: number;
  readonly count: number;
}

/** Blocks of all runs. */
export function countRuns(runs: readonly BlockRun[]): number {
  return runs.reduce((total, { count }) => total + count, 0);
}

/** The part of a run that lies in one group. */
export interface GroupPart {
  readonly group: number;
  /** The first block of the part, counted from the group's first. */
  readonly first: number;
  readonly count: number;
}

/** The parts of a run by the groups of a filesystem, ascending; none of an empty run. */
export function* groupParts(
  { blocksPerGroup }: { readonly blocksPerGroup: number },
  { start, count }: BlockRun,
): Generator<GroupPart, void, undefined> {
  const end = start + count;
  for (let block = start; block < end;) {
    const first = block % blocksPerGroup;
    const part = Math.min(end - block, blocksPerGroup - first);
    yield { group: Math.floor(block / blocksPerGroup), first, count: part };
    block += part;
  }
}
