import { describeEntry, isSameEntry, wrongLinkCounts } from './tree.js';
import type { Tree, TreeEntry } from './tree.js';
import type { Operation } from './workload.js';

/** How far an operation had come when the power went. */
export type Progress = 'waiting' | 'running' | 'settled';

/** An operation and how far it had come. */
interface Running {
  readonly operation: Operation;
  readonly progress: Progress;
}

/** What a cut may leave: for each operation its before or its after, and nothing in between. */
export interface Situation {
  readonly before: Tree;
  readonly after: Tree;
  readonly operations: readonly Running[];
  /** Bytes that a cut does not tear: 64, or 8 in the runs that tear lines. */
  readonly unit: number;
}

/** What is wrong with a tree that was recovered, one line each. */
export function treeProblems(found: Tree, situation: Situation): string[] {
  const problems = wrongLinkCounts(found);
  const verdicts = new Map<Operation, { before: string[]; after: string[] }>();
  const { before, after } = situation;
  for (const path of new Set([...before.keys(), ...after.keys(), ...found.keys()])) {
    const [was, will, is] = [before.get(path), after.get(path), found.get(path)];
    if (isSameEntry(was, will)) {
      if (!isSameEntry(is, was)) problems.push(`${path}: ${difference(is, was)}`);
      continue;
    }
    const change = operationOf(situation, path);
    if (change === undefined) {
      problems.push(`${path} changed, and no operation says that it touches it`);
      continue;
    }
    const { operation, progress } = change;
    const verdict = verdicts.get(operation) ?? { before: [], after: [] };
    verdicts.set(operation, verdict);
    const entries = { is, was, will };
    if (progress === 'running' && isMixture(operation, entries, situation.unit)) continue;
    if (!isSameEntry(is, was)) verdict.before.push(`${path}: ${difference(is, was)}`);
    if (!isSameEntry(is, will)) verdict.after.push(`${path}: ${difference(is, will)}`);
  }
  for (const { operation, progress } of situation.operations) {
    const verdict = verdicts.get(operation);
    if (verdict !== undefined) problems.push(...verdictProblems(operation, progress, verdict));
  }
  return problems;
}

function verdictProblems(
  { name }: Operation,
  progress: Progress,
  { before, after }: { before: readonly string[]; after: readonly string[] },
): string[] {
  const isBefore = before.length === 0;
  const isAfter = after.length === 0;
  if (progress === 'settled' && !isAfter) return [`${name} had settled and is lost: ${after[0]}`];
  if (progress === 'waiting' && !isBefore) return [`${name} had not begun: ${before[0]}`];
  if (isBefore || isAfter) return [];
  return [`${name} is neither before (${before[0]}) nor after (${after[0]})`];
}

function operationOf({ operations }: Situation, path: string): Running | undefined {
  return operations.find(({ operation }) =>
    operation.touches.some((touched) => path === touched || path.startsWith(`${touched}/`)),
  );
}

/** Whether each line of a file is its old or its new one: it was stored to in place. */
function isMixture(
  { torn }: Operation,
  { is, was, will }: { readonly [entry in 'is' | 'was' | 'will']: TreeEntry | undefined },
  unit: number,
): boolean {
  if (is === undefined || was === undefined || will === undefined) return false;
  const isChanged = is.mode !== was.mode || is.xattrs !== was.xattrs || is.type !== was.type;
  if (torn === undefined || isChanged) return false;
  if (is.size !== was.size && is.size !== will.size) return false;
  // The size changes with the commit.
  if (is.size !== was.size && torn === 'before the commit') return isSameEntry(is, will);
  // What was past the end of the old file is new whenever it can be seen.
  const fresh = Buffer.alloc(is.size);
  will.content.copy(fresh);
  const old = Buffer.from(fresh);
  was.content.copy(old);
  return isMixOf(is.content, [old, fresh], unit);
}

function isMixOf(content: Buffer, sources: readonly Buffer[], unit: number): boolean {
  for (let at = 0; at < content.length; at += unit) {
    const part = content.subarray(at, at + unit);
    if (!sources.some((source) => part.equals(source.subarray(at, at + unit)))) return false;
  }
  return true;
}

function difference(is: TreeEntry | undefined, wanted: TreeEntry | undefined): string {
  const what = `${describeEntry(is)} instead of ${describeEntry(wanted)}`;
  if (is === undefined || wanted === undefined) return what;
  const at = is.content.findIndex((byte, i) => byte !== wanted.content[i]);
  return at === -1 ? what : `${what}, first at byte ${at}`;
}
