import { open } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import type { Command } from 'commander';

import { RefusedError, jsonOf } from '../client.js';
import { choosePartition, filePath } from '../partition-choice.js';
import { UsageError } from '../usage-error.js';
import { sizeValue, textOption } from '../values.js';
import type { VerbContext, VerbRunner } from '../verb.js';

interface Entry {
  readonly name?: string;
  readonly name_base64?: string;
  readonly type: string;
  readonly size: number;
  readonly inode: number;
}

interface Listing {
  readonly entries: readonly Entry[];
}

/** `ls`, `cat` and `put`. */
export function addFileVerbs(program: Command, verb: VerbRunner): void {
  verb(
    program
      .command('ls')
      .description('the entries of a directory')
      .argument('[PATH]', "from the partition's root")
      .option('-p, --partition <NAME>', 'default: the only one mounted'),
  ).action(async (context) => {
    const { terminal } = context;
    const { entries } = await listing(context, context.args[0] ?? '');
    await terminal.table(
      entries,
      ['TYPE', 'SIZE', 'INODE', 'NAME'],
      entries.map(({ type, size, inode, name, name_base64: raw }) => [
        type,
        size,
        inode,
        name ?? `base64:${raw}`,
      ]),
    );
  });

  verb(
    program
      .command('cat')
      .description('the bytes of a file')
      .argument('<PATH>')
      .option('-p, --partition <NAME>', 'default: the only one mounted'),
  ).action(async (context) => {
    const body = await contentOf(context, context.args[0] ?? '');
    await pipeline(body, context.standard.stdout, { end: false });
  });

  verb(
    program
      .command('put')
      .description('create or replace a file from FILE or standard input')
      .argument('<PATH>')
      .argument('[FILE]', '- is standard input', '-')
      .option('--offset <BYTES>', 'write in place from there, without truncating')
      .option('--append', 'write at the end')
      .option('--exclusive', 'only where nothing is there yet')
      .option('-p, --partition <NAME>', 'default: the only one mounted'),
  ).action(async (context) => {
    const { client, args, options } = context;
    const query = new URLSearchParams();
    const { offset } = options;
    if (offset !== undefined) query.set('offset', String(sizeValue(offset, '--offset')));
    for (const flag of ['append', 'exclusive']) {
      if (options[flag] === true) query.set(flag, 'true');
    }
    const stream = await openSource(context, args[1] ?? '-');
    const path = `${await fileCall(context, args[0] ?? '')}?${query.toString()}`;
    await client.call({ method: 'PUT', path, stream });
  });
}

/** Directories and files have one route: which of them it was, the type of the answer says. */
async function listing(context: VerbContext, path: string): Promise<Listing> {
  const answer = await context.client.stream({
    method: 'GET',
    path: await fileCall(context, path),
  });
  if (isListing(answer)) return jsonOf<Listing>(answer, context.client.url);
  answer.destroy();
  const message = `ENOTDIR: ${path} is no directory: daxd cat shows its bytes`;
  throw new RefusedError({ code: 'ENOTDIR' }, message);
}

async function contentOf(context: VerbContext, path: string): Promise<IncomingMessage> {
  const answer = await context.client.stream({
    method: 'GET',
    path: await fileCall(context, path),
  });
  if (!isListing(answer)) return answer;
  answer.destroy();
  const message = `EISDIR: ${path} is a directory: daxd ls shows its entries`;
  throw new RefusedError({ code: 'EISDIR' }, message);
}

function isListing({ headers }: IncomingMessage): boolean {
  return headers['content-type']?.startsWith('application/json') === true;
}

async function fileCall({ client, options }: VerbContext, file: string): Promise<string> {
  const partition = await choosePartition(client, textOption(options, 'partition'));
  return filePath(partition, 'files', file);
}

async function openSource({ standard }: VerbContext, file: string): Promise<Readable> {
  if (file === '-') return standard.stdin;
  try {
    const handle = await open(file);
    return handle.createReadStream();
  } catch (cause) {
    throw new UsageError(`cannot read ${file}: ${String(cause)}`, { cause });
  }
}
