import type { Command } from 'commander';

import type { FileStat, Sought } from '../../http/schemas/file.js';
import type { FilesystemSizes } from '../../http/schemas/partition.js';
import { filePath, partitionOf, partitionPath, withPartition } from '../partition-choice.js';
import type { Cell } from '../table.js';
import { UsageError } from '../usage-error.js';
import { choiceValue, countValue, modeValue, sizeValue } from '../values.js';
import type { VerbContext, VerbRunner } from '../verb.js';

/** `stat`, `setattr`, `seek` and `statfs`. */
export function addAttributeVerbs(program: Command, verb: VerbRunner): void {
  verb(
    withPartition(
      program
        .command('stat')
        .description('an inode; a symlink itself, not its target')
        .argument('<PATH>'),
    ),
  ).action(async (context) => {
    const path = await statCall(context);
    await show(context, await context.client.json<FileStat>({ method: 'GET', path }));
  });

  verb(
    withPartition(
      program
        .command('setattr')
        .description('set permissions, owner and times; what is left out stays')
        .argument('<PATH>')
        .option('--mode <OCTAL>', 'such as 0644')
        .option('--uid <NUMBER>')
        .option('--gid <NUMBER>')
        .option('--atime <TIME>', 'such as 2026-01-31T12:00:00.5Z')
        .option('--mtime <TIME>', 'such as 2026-01-31T12:00:00.5Z'),
    ),
  ).action(async (context) => {
    const { mode, uid, gid, atime, mtime } = context.options;
    const json = {
      ...(mode !== undefined && { mode: modeValue(mode, '--mode') }),
      ...(uid !== undefined && { uid: countValue(uid, '--uid') }),
      ...(gid !== undefined && { gid: countValue(gid, '--gid') }),
      ...(atime !== undefined && { atime }),
      ...(mtime !== undefined && { mtime }),
    };
    if (Object.keys(json).length === 0) {
      throw new UsageError('name what to set: --mode, --uid, --gid, --atime or --mtime');
    }
    const path = await statCall(context);
    await show(context, await context.client.json<FileStat>({ method: 'PATCH', path, json }));
  });

  addSizeVerbs(program, verb);
}

function addSizeVerbs(program: Command, verb: VerbRunner): void {
  verb(
    withPartition(
      program
        .command('seek')
        .description('the next byte of data, or of a hole')
        .argument('<PATH>')
        .argument('<OFFSET>', 'bytes, or a number with K, M, G or T')
        .argument('<WHAT>', 'data or hole'),
    ),
  ).action(async (context) => {
    const { client, terminal, args } = context;
    const offset = String(sizeValue(args[1], 'OFFSET'));
    const query = new URLSearchParams({
      offset,
      what: choiceValue(args[2], 'WHAT', ['data', 'hole']),
    });
    const path = `${filePath(await partitionOf(context), 'seek', args[0] ?? '')}?${query.toString()}`;
    const found = await client.json<Sought>({ method: 'GET', path });
    await terminal.pairs(found, [['offset', found.offset]]);
  });

  verb(
    withPartition(program.command('statfs').description('what the filesystem holds and has left')),
  ).action(async (context) => {
    const path = `${partitionPath(await partitionOf(context))}/statfs`;
    const sizes = await context.client.json<FilesystemSizes>({ method: 'GET', path });
    await context.terminal.pairs(sizes, [
      ['total bytes', sizes.total_bytes],
      ['free bytes', sizes.free_bytes],
      ['available bytes', sizes.available_bytes],
      ['total inodes', sizes.total_inodes],
      ['free inodes', sizes.free_inodes],
      ['quarantined bytes', sizes.quarantined_bytes],
      ['quarantine limit', sizes.quarantine_limit_bytes],
    ]);
  });
}

async function show({ terminal }: VerbContext, stat: FileStat): Promise<void> {
  const { mode, uid, gid, target, device } = stat;
  const more: (readonly [string, Cell])[] = [
    ...(target === undefined ? [] : [['target', target] as const]),
    ...(device === undefined ? [] : [['device', `${device.major}:${device.minor}`] as const]),
  ];
  await terminal.pairs(stat, [
    ['inode', stat.inode],
    ['type', stat.type],
    ['mode', `0${(mode % 0o10000).toString(8).padStart(3, '0')}`],
    ['links', stat.nlink],
    ['owner', `${uid}:${gid}`],
    ['size', stat.size],
    ['blocks', stat.blocks],
    ['accessed', stat.atime],
    ['modified', stat.mtime],
    ['changed', stat.ctime],
    ...more,
  ]);
}

async function statCall(context: VerbContext): Promise<string> {
  return filePath(await partitionOf(context), 'stat', context.args[0] ?? '');
}
