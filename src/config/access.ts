import { DaxdError } from '../lib/errno.js';
import { isRemote } from './listen-address.js';
import type { ListenAddress } from './listen-address.js';
import type { ServeOptions } from './schema.js';

/** How callers over TCP are told apart, and kept from others' eyes. */
export interface AccessConfig {
  /** Undefined: no caller needs a token. */
  readonly tokenFile: string | undefined;
  /** Undefined: plain HTTP. */
  readonly tls:
    | { readonly cert: string; readonly key: string; readonly clientCa: string | undefined }
    | undefined;
}

/**
 * What the options of access say.
 *
 * @param listen `--listen`, read.
 * @throws DaxdError EINVAL naming the option and what to give instead.
 */
export function loadAccessConfig(
  options: ServeOptions,
  listen: readonly ListenAddress[],
): AccessConfig {
  const { tokenFile, tlsCert: cert, tlsKey: key, tlsClientCa: clientCa } = options;
  if ((cert === undefined) !== (key === undefined)) {
    throw new DaxdError('EINVAL', '--tls-cert and --tls-key go together: give both');
  }
  if (clientCa !== undefined && cert === undefined) {
    throw new DaxdError('EINVAL', '--tls-client-ca needs TLS: give --tls-cert and --tls-key too');
  }
  const tls = cert === undefined || key === undefined ? undefined : { cert, key, clientCa };
  const access = { tokenFile, tls };
  refuseOpenDoors(options, listen, access);
  return access;
}

/** Options of access that change nothing, in words for the log. */
export function idleAccessOptions(
  { tokenFile, tls }: AccessConfig,
  listen: readonly ListenAddress[],
): string[] {
  if (listen.some(({ kind }) => kind === 'tcp')) return [];
  const given = [...(tokenFile === undefined ? [] : ['--token-file']), ...(tls ? ['TLS'] : [])];
  return given.map(
    (what) => `${what} changes nothing without TCP: the mode of a Unix socket says who may call`,
  );
}

/** A token in clear text is as good as none to whoever can listen in. */
function refuseOpenDoors(
  options: ServeOptions,
  listen: readonly ListenAddress[],
  { tokenFile, tls }: AccessConfig,
): void {
  const open = listen.findIndex(isRemote);
  const asksWho = tokenFile !== undefined || tls?.clientCa !== undefined;
  if (open < 0 || (tls !== undefined && asksWho)) return;
  throw new DaxdError(
    'EINVAL',
    `--listen ${options.listen[open]} is reachable from other machines: give --tls-cert and ` +
      '--tls-key, and one of --token-file and --tls-client-ca; or listen on 127.0.0.1, [::1] ' +
      'or unix:/path',
  );
}
