import type { Command } from 'commander';

import { Client } from './client.js';
import { credentialsFrom } from './credentials.js';
import { Terminal } from './terminal.js';
import type { Standard } from './standard.js';
import { UsageError } from './usage-error.js';
import { textOption } from './values.js';

/** What a verb that talks to a daemon gets. */
export interface VerbContext {
  readonly client: Client;
  readonly terminal: Terminal;
  /** Its arguments, in the order in which they are declared; of one that repeats, each. */
  readonly args: readonly (string | undefined)[];
  /** Its own options, by name. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly standard: Standard;
}

/** A verb that is declared but not yet told what to do. */
interface DeclaredVerb {
  action(run: (context: VerbContext) => Promise<void>): void;
}

/**
 * Gives a command the options of every verb that talks to a daemon; `--json` not to one that
 * prints bytes.
 */
export type VerbRunner = (command: Command, options?: { readonly json: boolean }) => DeclaredVerb;

const DEFAULT_URL = 'http://127.0.0.1:8470';

/** Verbs that print on `standard` and take `DAXD_URL` and credentials from its environment. */
export function verbRunner(standard: Standard): VerbRunner {
  return (command, { json } = { json: true }) => {
    command.option('--url <URL>', 'the daemon: http(s)://host:port or unix:/path (or DAXD_URL)');
    if (json) command.option('--json', 'print JSON');
    return {
      action(run) {
        command.action(async () => {
          const options: Record<string, unknown> = command.opts();
          await run({
            client: await openClient(textOption(options, 'url'), standard),
            terminal: new Terminal(standard.stdout, { json: options['json'] === true }),
            args: command.processedArgs
              .flat()
              .map((arg: unknown) => (typeof arg === 'string' ? arg : undefined)),
            options,
            standard,
          });
        });
      },
    };
  };
}

async function openClient(given: string | undefined, { env }: Standard): Promise<Client> {
  const url = given ?? env['DAXD_URL'] ?? DEFAULT_URL;
  const credentials = await credentialsFrom(env);
  try {
    return new Client(url, credentials);
  } catch (cause) {
    const source = given === undefined ? 'DAXD_URL' : '--url';
    const message = `${source} "${url}" is not the address of a daemon: give http://host:port, https://host:port or unix:/path`;
    throw new UsageError(message, { cause });
  }
}
