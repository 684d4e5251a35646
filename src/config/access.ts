import type { ListenAddress } from './listen-address.js';
import type { ServeOptions } from './schema.js';

/** How callers over HTTP are told apart. */
export interface AccessConfig {
  /** Undefined: no caller needs a token. */
  readonly tokenFile: string | undefined;
}

/** What the options of access say. */
export function loadAccessConfig(options: ServeOptions): AccessConfig {
  return { tokenFile: options.tokenFile };
}

/** Options of access that change nothing, in words for the log. */
export function idleAccessOptions(
  options: ServeOptions,
  listen: readonly ListenAddress[],
): string[] {
  if (options.tokenFile === undefined || listen.some(({ kind }) => kind === 'tcp')) return [];
  return ['--token-file changes nothing without TCP: the mode of a Unix socket says who may call'];
}
