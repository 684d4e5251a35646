import type { Command } from 'commander';

import type { XattrList } from '../../http/schemas/xattr.js';
import { carryOut } from '../carry-out.js';
import { filePath, partitionOf, withPartition } from '../partition-choice.js';
import { print } from '../print.js';
import { readStandardInput } from '../source.js';
import { textOption } from '../values.js';
import type { VerbContext, VerbRunner } from '../verb.js';

type Xattr = XattrList['xattrs'][number];

/** `xattr list`, `get`, `set` and `remove`. */
export function addXattrVerbs(program: Command, verb: VerbRunner): void {
  const xattr = program.command('xattr').description('extended attributes');
  verb(common(xattr.command('list').description('names and sizes').argument('<PATH>'))).action(
    async (context) => {
      const found = await read(context);
      await context.terminal.table(
        found,
        ['SIZE', 'NAME'],
        found.map((one) => [valueOf(one).length, one.name]),
      );
    },
  );

  verb(
    common(
      xattr.command('get').description('a value, as it is').argument('<PATH>').argument('<NAME>'),
    ),
  ).action(async (context) => {
    const [found] = await read(context);
    if (context.options['json'] === true) await context.terminal.pairs(found, []);
    else if (found !== undefined) await print(context.standard.stdout, valueOf(found));
  });

  verb(
    common(
      xattr
        .command('set')
        .description('set a value from VALUE or standard input')
        .argument('<PATH>')
        .argument('<NAME>')
        .argument('[VALUE]', 'without it standard input')
        .option('--only <WHICH>', 'create: only a new one; replace: only one that is there'),
    ),
  ).action(async (context) => {
    const { standard, args, options } = context;
    const value = args[2] === undefined ? await readStandardInput(standard) : Buffer.from(args[2]);
    const only = textOption(options, 'only');
    const json = { value_base64: value.toString('base64'), ...(only !== undefined && { only }) };
    await carryOut(context, { method: 'PUT', path: await xattrCall(context), json });
  });

  verb(
    common(xattr.command('remove').description('remove one').argument('<PATH>').argument('<NAME>')),
  ).action(async (context) => {
    await carryOut(context, { method: 'DELETE', path: await xattrCall(context) });
  });
}

function common(command: Command): Command {
  return withPartition(command.option('--no-follow', 'a symlink itself, not what it points to'));
}

async function read(context: VerbContext): Promise<readonly Xattr[]> {
  const path = await xattrCall(context);
  const { xattrs } = await context.client.json<XattrList>({ method: 'GET', path });
  return xattrs;
}

async function xattrCall(context: VerbContext): Promise<string> {
  const { args, options } = context;
  const [path = '', name] = args;
  const query = new URLSearchParams(name === undefined ? {} : { name });
  if (options['follow'] === false) query.set('follow', 'false');
  return `${filePath(await partitionOf(context), 'xattrs', path)}?${query.toString()}`;
}

function valueOf({ value_base64: value }: Xattr): Buffer {
  return Buffer.from(value, 'base64');
}
