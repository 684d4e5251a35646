import type { Command } from 'commander';

import type { LayoutChanged } from '../../http/schemas/file.js';
import { partitionOf, partitionPath, withPartition } from '../partition-choice.js';
import { choiceValue, countValue, sizeValue, textOption } from '../values.js';
import type { VerbContext, VerbRunner } from '../verb.js';

const ON_CONFLICT = ['wait', 'fail', 'defer', 'revoke'] as const;

/** The verbs about a range of a file, which wait until nobody has the pages concerned. */
const RANGE_VERBS = [
  ['punch-hole', 'make a range of a file a hole; waits while pages of it are lent'],
  ['zero-range', 'make a range of a file zeros; waits while pages of it are lent'],
  ['fallocate', 'give a range of a file blocks; what is there stays'],
  ['collapse-range', 'take a range out of a file; waits while pages from there on are lent'],
  ['insert-range', 'put a hole into a file; waits while pages from there on are lent'],
] as const;
/** Those of them that grow a file where the range ends behind it. */
const GROWING: ReadonlySet<string> = new Set(['zero-range', 'fallocate']);

/** `truncate`, `punch-hole` and their like, which wait until nobody has the pages concerned. */
export function addChangeVerbs(program: Command, verb: VerbRunner): void {
  verb(
    withPatience(
      program
        .command('truncate')
        .description('set the size of a file; waits while pages at its end are lent')
        .argument('<PATH>')
        .argument('<SIZE>', 'bytes, or a number with K, M, G or T'),
    ),
  ).action(async (context) => {
    const [path, size] = context.args;
    await change(context, 'truncate', { path, size: sizeValue(size, 'SIZE') });
  });

  for (const [name, description] of RANGE_VERBS) {
    const command = program
      .command(name)
      .description(description)
      .argument('<PATH>')
      .argument('<OFFSET>', 'bytes, or a number with K, M, G or T')
      .argument('<LENGTH>', 'bytes, or a number with K, M, G or T');
    if (GROWING.has(name)) command.option('--keep-size', 'do not grow the file');
    verb(withPatience(command)).action(async (context) => {
      const [path, offset, length] = context.args;
      const range = { offset: sizeValue(offset, 'OFFSET'), length: sizeValue(length, 'LENGTH') };
      const isKept = context.options['keepSize'] === true;
      await change(context, name, { path, ...range, ...(isKept && { keep_size: true }) });
    });
  }
}

function withPatience(command: Command): Command {
  return withPartition(command)
    .option(
      '--on-conflict <wait|fail|defer|revoke>',
      'where pages are lent: wait (default), fail at once, put them into quarantine, or take them',
    )
    .option(
      '--deadline-ms <MS>',
      'how long it waits, or with revoke how long holders have; default: until it is interrupted',
    );
}

async function change(context: VerbContext, op: string, asked: object): Promise<void> {
  const { client, terminal, options } = context;
  const onConflict = textOption(options, 'onConflict');
  const deadline = textOption(options, 'deadlineMs');
  const json = {
    ...asked,
    ...(onConflict !== undefined && {
      on_conflict: choiceValue(onConflict, '--on-conflict', ON_CONFLICT),
    }),
    ...(deadline !== undefined && { deadline_ms: countValue(deadline, '--deadline-ms') }),
  };
  const path = `${partitionPath(await partitionOf(context))}/${op}`;
  const changed = await client.json<LayoutChanged>({ method: 'POST', path, json });
  await terminal.pairs(changed, [
    ['size', changed.size],
    ['waited ms', changed.waited_ms],
    ['freed bytes', changed.freed_bytes],
    ['quarantined bytes', changed.quarantined_bytes],
  ]);
}
