import type { Command } from 'commander';

import { carryOut } from '../carry-out.js';
import { partitionOf, partitionPath, withPartition } from '../partition-choice.js';
import { UsageError } from '../usage-error.js';
import { choiceValue, countValue, modeValue } from '../values.js';
import type { VerbContext, VerbRunner } from '../verb.js';

/** `mkdir`, `symlink` and `mknod`. */
export function addNodeVerbs(program: Command, verb: VerbRunner): void {
  verb(
    withPartition(
      program
        .command('mkdir')
        .description('make a directory in one that is there')
        .argument('<PATH>'),
    ),
  ).action(async (context) => {
    await call(context, 'mkdir', { path: context.args[0] });
  });

  verb(
    withPartition(
      program
        .command('symlink')
        .description('make a symlink')
        .argument('<TARGET>', 'what it says, as it is')
        .argument('<PATH>', 'its name'),
    ),
  ).action(async (context) => {
    const [target, path] = context.args;
    await call(context, 'symlink', { path, target });
  });

  verb(
    withPartition(
      program
        .command('mknod')
        .description('make a device, fifo or socket')
        .argument('<PATH>')
        .argument('<TYPE>', 'char, block, fifo or socket')
        .argument('[MAJOR]', 'of a device')
        .argument('[MINOR]', 'of a device')
        .option('--mode <OCTAL>', 'default: 0644'),
    ),
  ).action(async (context) => {
    const [path, asked, major, minor] = context.args;
    const { mode } = context.options;
    const type = choiceValue(asked, 'TYPE', ['char', 'block', 'fifo', 'socket']);
    if ((type === 'char' || type === 'block') && minor === undefined) {
      throw new UsageError(`a ${type} device has a number: mknod PATH ${type} MAJOR MINOR`);
    }
    await call(context, 'mknod', {
      path,
      type,
      ...(mode !== undefined && { mode: modeValue(mode, '--mode') }),
      ...(major !== undefined && { major: countValue(major, 'MAJOR') }),
      ...(minor !== undefined && { minor: countValue(minor, 'MINOR') }),
    });
  });
}

async function call(context: VerbContext, op: string, json: object): Promise<void> {
  const path = `${partitionPath(await partitionOf(context))}/${op}`;
  await carryOut(context, { method: 'POST', path, json });
}
