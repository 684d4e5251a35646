import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { systemClock } from '../../../src/lib/clock.js';
import { fsck } from '../ext4-image.js';
import { DaxdTarget } from './daxd-target.js';
import { availableKinds, IMAGE_BYTES, isSameOutcome } from './differential.js';
import { makeDirtyImage } from './images.js';
import type { ImageKind } from './images.js';
import { KernelTarget } from './kernel-target.js';
import { describeOperation } from './operation.js';
import { Program } from './program.js';
import { differences } from './snapshot.js';
import type { Snapshot, Times } from './snapshot.js';

/** Turns on one image. */
export interface TurnsPlan {
  readonly directory: string;
  readonly kind: ImageKind;
  readonly seed: number;
  readonly rounds: number;
  readonly perTurn: number;
}

/** How they went: lines are empty where nothing differs. */
export interface TurnsReport {
  readonly turns: number;
  readonly lines: readonly string[];
}

const BLOCK = 4096;
const DAY_NS = 86_400_000_000_000n;

type Writer = 'kernel' | 'daxd';

/**
 * Has the kernel and daxd change one image by turns, while the kernel alone runs the same
 * program on a copy. After each turn e2fsck must find nothing, and both readers must see in
 * the image what the kernel sees in the copy.
 */
export async function runTurns(plan: TurnsPlan): Promise<TurnsReport> {
  const { directory, kind, seed, rounds, perTurn } = plan;
  const image = join(directory, 'turns.img');
  const copy = join(directory, 'turns-copy.img');
  await makeDirtyImage(image, kind, IMAGE_BYTES);
  copyFileSync(image, copy);
  const program = new Program({ seed, blocks: IMAGE_BYTES / BLOCK, kinds: availableKinds() });
  const reference = KernelTarget.open(copy);
  let turns = 0;
  try {
    for (; turns < 2 * rounds; turns++) {
      const writer = turns % 2 === 0 ? 'kernel' : 'daxd';
      const lines = await takeTurn({ image, writer, reference, program, perTurn });
      if (lines.length === 0) continue;
      return { turns, lines: [`seed ${seed}, turn ${turns + 1}, ${writer}:`, ...lines] };
    }
    return { turns, lines: [] };
  } finally {
    reference.close();
    rmSync(image);
    rmSync(copy);
  }
}

interface Turn {
  readonly image: string;
  readonly writer: Writer;
  readonly reference: KernelTarget;
  readonly program: Program;
  readonly perTurn: number;
}

async function takeTurn(turn: Turn): Promise<string[]> {
  const { image, reference } = turn;
  const lines = await writeTurn(turn);
  const { status, output } = fsck(image);
  if (status !== 0) lines.push(`e2fsck exits ${status}: ${output}`);
  if (lines.length > 0) return lines;
  const nowNs = BigInt(Math.floor(systemClock.wallMs())) * 1_000_000n;
  const times = { nowFromNs: nowNs - DAY_NS, nowToNs: nowNs + DAY_NS };
  const expected = reference.snapshot();
  return [
    ...(await readBy('kernel', image, expected, times)),
    ...(await readBy('daxd', image, expected, times)),
  ];
}

async function writeTurn({ image, writer, reference, program, perTurn }: Turn): Promise<string[]> {
  const target = await openBy(writer, image);
  try {
    for (let i = 0; i < perTurn; i++) {
      const operation = program.next();
      const expected = await reference.run(operation);
      const outcome = await target.run(operation);
      if (!isSameOutcome(operation, outcome, expected)) {
        const shown = [outcome, expected].map((answer) => JSON.stringify(answer));
        return [`${describeOperation(operation)}: ${shown.join(', the kernel ')}`];
      }
      if (expected.errno === undefined) program.succeeded(operation);
    }
    return [];
  } finally {
    await target.close();
  }
}

/** What a reader sees differently from the copy that only the kernel has written. */
async function readBy(
  reader: Writer,
  image: string,
  expected: Snapshot,
  times: Times,
): Promise<string[]> {
  const target = await openBy(reader, image, 'ro');
  try {
    return differences(target.snapshot(), expected, times).map((line) => `${reader} reads ${line}`);
  } finally {
    await target.close();
  }
}

async function openBy(
  who: Writer,
  image: string,
  mode: 'rw' | 'ro' = 'rw',
): Promise<KernelTarget | DaxdTarget> {
  return who === 'kernel' ? KernelTarget.open(image, mode) : await DaxdTarget.open(image, mode);
}
