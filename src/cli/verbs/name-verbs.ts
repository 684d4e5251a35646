import type { Command } from 'commander';

import { carryOut } from '../carry-out.js';
import { filePath, partitionOf, partitionPath, withPartition } from '../partition-choice.js';
import type { VerbContext, VerbRunner } from '../verb.js';

/** `rm`, `rename` and `link`. */
export function addNameVerbs(program: Command, verb: VerbRunner): void {
  verb(
    withPartition(
      program
        .command('rm')
        .description('remove a name, or an empty directory; blocks that are lent go later')
        .argument('<PATH>'),
    ),
  ).action(async (context) => {
    const path = filePath(await partitionOf(context), 'files', context.args[0] ?? '');
    await carryOut(context, { method: 'DELETE', path });
  });

  verb(
    withPartition(
      program
        .command('rename')
        .description('move a name, over what is there')
        .argument('<FROM>')
        .argument('<TO>')
        .option('--no-replace', 'refuse when something is there'),
    ),
  ).action(async (context) => {
    const [from, to] = context.args;
    const noReplace = context.options['replace'] === false;
    await call(context, 'rename', { from, to, no_replace: noReplace });
  });

  verb(
    withPartition(
      program
        .command('link')
        .description('give a file another name')
        .argument('<FROM>')
        .argument('<TO>', 'the new name'),
    ),
  ).action(async (context) => {
    const [from, to] = context.args;
    await call(context, 'link', { from, to });
  });
}

async function call(context: VerbContext, op: string, json: object): Promise<void> {
  const path = `${partitionPath(await partitionOf(context))}/${op}`;
  await carryOut(context, { method: 'POST', path, json });
}
