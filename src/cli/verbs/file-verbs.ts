import type { IncomingMessage } from 'node:http';

import type { Command } from 'commander';

import type { DirectoryListing } from '../../http/schemas/file.js';
import { carryOut } from '../carry-out.js';
import { RefusedError, bytesOf, jsonOf } from '../client.js';
import { filePath, partitionOf, withPartition } from '../partition-choice.js';
import { print } from '../print.js';
import { STANDARD_INPUT, openSource, unreadable } from '../source.js';
import { sizeValue } from '../values.js';
import type { VerbContext, VerbRunner } from '../verb.js';

/** `ls`, `cat` and `put`. */
export function addFileVerbs(program: Command, verb: VerbRunner): void {
  verb(
    withPartition(
      program
        .command('ls')
        .description('the entries of a directory')
        .argument('[PATH]', "from the partition's root"),
    ),
  ).action(async (context) => {
    const { client, terminal } = context;
    const answer = await contentOf(context, 'directory');
    const { entries } = await jsonOf<DirectoryListing>(answer, client.url);
    await terminal.table(
      entries,
      ['TYPE', 'SIZE', 'INODE', 'NAME'],
      entries.map(({ type, size, error, inode, name, name_base64: raw }) => [
        type,
        size ?? error,
        inode,
        name ?? `base64:${raw}`,
      ]),
    );
  });

  verb(
    withPartition(program.command('cat').description('the bytes of a file').argument('<PATH>')),
    { json: false },
  ).action(async (context) => {
    const body = await contentOf(context, 'file');
    const { client, standard } = context;
    for await (const bytes of bytesOf(body, client.url)) await print(standard.stdout, bytes);
  });

  verb(
    withPartition(
      program
        .command('put')
        .description('create or replace a file from FILE or standard input')
        .argument('<PATH>')
        .argument('[FILE]', '- is standard input', STANDARD_INPUT)
        .option('--offset <BYTES>', 'write in place from there, without truncating')
        .option('--append', 'write at the end')
        .option('--exclusive', 'only where nothing is there yet'),
    ),
  ).action(async (context) => {
    const { args, options } = context;
    const query = new URLSearchParams();
    const { offset } = options;
    if (offset !== undefined) query.set('offset', String(sizeValue(offset, '--offset')));
    for (const flag of ['append', 'exclusive']) {
      if (options[flag] === true) query.set(flag, 'true');
    }
    const source = args[1] ?? STANDARD_INPUT;
    const stream = await openSource(context.standard, source);
    const path = `${await fileCall(context, args[0] ?? '')}?${query.toString()}`;
    try {
      await carryOut(context, { method: 'PUT', path, stream });
    } catch (error) {
      throw error === stream.errored ? unreadable(source, error) : error;
    }
  });
}

/** What a path must be for a verb, and what is said where it is the other. */
const KINDS = {
  directory: { code: 'ENOTDIR', advice: 'is no directory: daxd cat shows its bytes' },
  file: { code: 'EISDIR', advice: 'is a directory: daxd ls shows its entries' },
} as const;

/** Directories and files have one route: which of them it was, the type of the answer says. */
async function contentOf(
  context: VerbContext,
  wanted: keyof typeof KINDS,
): Promise<IncomingMessage> {
  const file = context.args[0] ?? '';
  const path = await fileCall(context, file);
  const answer = await context.client.stream({ method: 'GET', path });
  const isListing = answer.headers['content-type']?.startsWith('application/json') === true;
  if (isListing === (wanted === 'directory')) return answer;
  answer.destroy();
  const { code, advice } = KINDS[wanted];
  throw new RefusedError({ code, detail: `${file} ${advice}` });
}

async function fileCall(context: VerbContext, file: string): Promise<string> {
  return filePath(await partitionOf(context), 'files', file);
}
