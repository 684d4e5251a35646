import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

import { EXPORT_BYTES } from './cells.js';
import { outputOf } from './child.js';
import type { ServerKind } from './servers.js';

/** The server that does nothing but the protocol: no peer, but what the client leaves to any. */
export const FLOOR = 'floor';

const SOURCE = 'test/bench/nbd/floor.c';

/** Whether there is a compiler for it. */
export function hasCompiler(): boolean {
  return spawnSync('which', ['cc']).status === 0;
}

/** Compiles the floor into `directory`. @throws Error with what the compiler says. */
export async function buildFloor(directory: string): Promise<ServerKind> {
  const program = join(directory, FLOOR);
  await outputOf('cc', ['-O2', '-pthread', '-o', program, SOURCE]);
  return {
    name: FLOOR,
    version: 'cc --version',
    command: ({ socket }) => `${program} ${socket} ${EXPORT_BYTES}`,
  };
}
