import { join } from 'node:path';

import { availableKinds, IMAGE_BYTES, runDifferential } from './differential.js';
import type { DifferentialReport } from './differential.js';
import { makeDirtyImage } from './images.js';
import type { ImageKind } from './images.js';
import { describeOperation } from './operation.js';
import type { Operation } from './operation.js';
import { Program, Script } from './program.js';

/** A program by its seed, on one kind of image. */
export interface SeedPlan {
  readonly directory: string;
  readonly kind: ImageKind;
  readonly seed: number;
  readonly operations: number;
  readonly burst: number;
  readonly progress?: (line: string) => void;
}

/** What came of it, and what to print. */
export interface SeedReport extends DifferentialReport {
  /** The first difference, and how to see it again; empty where there is none. */
  readonly lines: readonly string[];
}

const BLOCK = 4096;
const SHRINK_RUNS_MAX = 150;

/**
 * Runs a seed's program. Where a comparison after a burst finds a difference, it runs again
 * from the start, and compares after each operation of that burst: the report is of the first
 * operation that made a difference.
 */
export async function runSeed(plan: SeedPlan): Promise<SeedReport> {
  const { directory, kind, progress } = plan;
  const image = join(directory, 'start.img');
  await makeDirtyImage(image, kind, IMAGE_BYTES);
  const base = { directory, kind, image, sizeBytes: IMAGE_BYTES, burst: plan.burst };
  const watch = progress === undefined ? {} : { progress };
  const { operations } = plan;
  const first = await runDifferential({ ...base, ...watch, operations, source: programOf(plan) });
  const { finding } = first;
  if (finding === undefined) return { ...first, lines: [] };

  const again = await runDifferential({
    ...base,
    operations: finding.index,
    fineFrom: finding.alikeUntil,
    source: programOf(plan),
  });
  return { ...again, finding: again.finding ?? finding, lines: explain(plan, again, finding) };
}

/**
 * Leaves out operations as long as the rest still ends in a difference: what it prints is often
 * short enough to read.
 */
export async function shrinkSeed(
  { directory, kind, burst }: SeedPlan,
  { operations }: SeedReport,
): Promise<string[]> {
  const image = join(directory, 'start.img');
  let runs = 0;
  const ask = async (script: readonly Operation[]): Promise<DifferentialReport> =>
    await runDifferential({
      directory,
      kind,
      image,
      sizeBytes: IMAGE_BYTES,
      source: new Script(script),
      operations: script.length,
      burst: Math.max(burst, script.length),
    });
  let script: readonly Operation[] = operations;
  let last = await ask(script);
  for (let piece = Math.ceil(script.length / 2); piece >= 1; piece = Math.floor(piece / 2)) {
    for (let from = 0; from < script.length && runs < SHRINK_RUNS_MAX; runs++) {
      const shorter = [...script.slice(0, from), ...script.slice(from + piece)];
      const report = await ask(shorter);
      if (report.finding === undefined) {
        from += piece;
      } else {
        script = report.operations;
        last = report;
      }
    }
  }
  return [
    `shrunk to ${script.length} operations in ${runs} runs:`,
    ...script.map((operation) => `  ${describeOperation(operation)}`),
    ...(last.finding?.lines ?? ['  no difference from a fresh image']).map((line) => `  ${line}`),
  ];
}

function programOf({ seed }: SeedPlan): Program {
  return new Program({ seed, blocks: IMAGE_BYTES / BLOCK, kinds: availableKinds() });
}

function explain(
  { seed, kind }: SeedPlan,
  again: DifferentialReport,
  first: NonNullable<DifferentialReport['finding']>,
): string[] {
  const finding = again.finding ?? first;
  return [
    `seed ${seed}, image ${kind}, operation ${finding.index}: ${finding.operation}`,
    ...finding.lines.map((line) => `  ${line}`),
    ...(again.finding === undefined ? ['  it did not come again when compared step by step'] : []),
    `again: npm run differential -- --seed ${seed} --operations ${finding.index} --image ${kind} --shrink`,
  ];
}
