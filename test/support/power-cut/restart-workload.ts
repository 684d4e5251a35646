import type { Batch, Operation } from './workload.js';

const DIRECTORIES = 12;

/** Directories made and removed, so often that the smallest log begins anew a few times. */
export function restartWorkload(rounds: number): Batch[] {
  const batches: Batch[] = [];
  for (let round = 0; round < rounds; round++) {
    const paths = Array.from({ length: DIRECTORIES }, (_, i) => `${i}${'n'.repeat(200)}`);
    batches.push(
      paths.map((path) => step(`mkdir ${round}`, path, (fs) => fs.mkdir(path))),
      paths.map((path) => step(`remove ${round}`, path, (fs) => fs.unlink(path))),
    );
  }
  return batches;
}

function step(name: string, path: string, run: Operation['run']): Operation {
  return { name: `${name} ${path.slice(0, 3)}`, touches: [path], run };
}
