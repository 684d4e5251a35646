/**
 * Opens 2 GiB and 64 KiB in three windows, touches them, lets go of them step by step, and
 * prints how many are mapped at each: the first through mmap-io, the other two through libc.
 */
import { readFileSync } from 'node:fs';

import { silentLogger } from '../../../src/lib/logger.js';
import { GIB } from '../../../src/lib/units.js';
import type { Backing } from '../../../src/media/backing.js';
import { openBacking } from '../../../src/media/open-backing.js';

const [image = ''] = process.argv.slice(2);

function report(step: string): void {
  const maps = readFileSync('/proc/self/maps', 'utf8').split('\n');
  // The kernel joins neighbours of one file into one line, so count by length.
  const bytes = maps
    .filter((line) => line.endsWith(image))
    .map((line) => line.split(/[ -]/).slice(0, 2))
    .map(([from, to]) => Number(`0x${to}`) - Number(`0x${from}`))
    .reduce((total, length) => total + length, 0);
  process.stdout.write(`${step} ${Math.ceil(bytes / GIB)}\n`);
}

/** Finalizers run in a later turn than the collection, those of Buffers one later still. */
async function collect(): Promise<void> {
  for (let round = 0; round < 5; round++) {
    globalThis.gc?.();
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function open(): Promise<{ backing: Backing | undefined }> {
  const options = { sizeBytes: 2 * GIB + 65536, sparse: true, log: silentLogger };
  return { backing: await openBacking(image, options) };
}

/** Small views of the first window and of the second, both through a larger view. */
function takeViews(backing: Backing | undefined): Buffer[] {
  backing?.mapping.fill(0, 1, 1);
  backing?.mapping.fill(GIB, 1, 2);
  const views = [backing?.mapping.view(0, 4096), backing?.mapping.view(GIB, 4096)];
  return views.filter((view) => view !== undefined).map((view) => view.subarray(0, 1));
}

const holder = await open();
await collect();
report('open');
holder.backing?.mapping.view(GIB, 1);
report('second touched');
holder.backing?.mapping.view(2 * GIB + 65536 - 1, 1);
report('third touched');
await holder.backing?.close();
await collect();
report('closed, mapping held');
let views = takeViews(holder.backing);
holder.backing = undefined;
await collect();
report('two views held');
process.stdout.write(`bytes ${views.map((view) => view[0]).join(' ')}\n`);
views = [];
await collect();
report('none held');
