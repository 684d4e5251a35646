import { Command, Option } from 'commander';

import { loadServeConfig } from '../config/load.js';
import type { ServeConfig } from '../config/load.js';
import { serveOptionSpecs } from '../config/schema.js';
import type { OptionSpec } from '../config/schema.js';
import { DaxdError } from '../lib/errno.js';
import { UsageError } from './usage-error.js';

/** Runs a daemon and gives its exit code. */
export type Serve = (config: ServeConfig) => Promise<number>;

/** The verb that is run when none is named. */
export function serveCommand(serve: Serve, onExit: (code: number) => void): Command {
  const command = new Command('serve').description('attach a namespace and serve it');
  for (const spec of serveOptionSpecs()) command.addOption(optionOf(spec));
  return command.action(async () => {
    onExit(await serve(checkedConfig(command.opts())));
  });
}

function checkedConfig(given: Readonly<Record<string, unknown>>): ServeConfig {
  try {
    return loadServeConfig(given);
  } catch (cause) {
    if (!(cause instanceof DaxdError)) throw cause;
    throw new UsageError(cause.message, { cause });
  }
}

function optionOf({
  flag,
  placeholder,
  description,
  repeatable,
  defaultValue,
}: OptionSpec): Option {
  const flags = placeholder === undefined ? flag : `${flag} <${placeholder}>`;
  const shown = [defaultValue].flat().join(', ');
  const hint = placeholder === undefined || shown === '' ? '' : ` (default: ${shown})`;
  const option = new Option(flags, `${description}${hint}`);
  // Defaults are filled in by the configuration, which thus knows what was typed.
  return repeatable ? option.argParser(collect) : option;
}

function collect(text: string, before: unknown): string[] {
  return [...(Array.isArray(before) ? before.map(String) : []), text];
}
