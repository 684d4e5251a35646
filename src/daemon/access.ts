import type { ServeConfig } from '../config/load.js';
import type { Token } from '../http/callers.js';
import { loadTls } from '../http/tls-files.js';
import type { TlsOptions } from '../http/tls-files.js';
import { loadTokens } from '../http/token-file.js';
import type { Logger } from '../lib/logger.js';
import { loadTlsKeys } from '../nbd/tls-keys.js';
import type { TlsKeys } from '../nbd/tls-transport.js';

/** How callers and block clients are told apart, with all files read. */
export interface Access {
  /** Undefined: block clients come without TLS. */
  readonly nbdTls: TlsKeys | undefined;
  /** Undefined: no caller needs a token. */
  readonly tokens: readonly Token[] | undefined;
  /** Undefined: plain HTTP. */
  readonly tls: TlsOptions | undefined;
}

/**
 * Reads the tokens and the keys of TLS, and says in the log who may call.
 *
 * @throws DaxdError EINVAL when a file of them cannot be used; ENOENT, EACCES when it cannot be read.
 */
export async function readAccess(
  { access: { tokenFile, tls: files }, nbd }: Pick<ServeConfig, 'access' | 'nbd'>,
  log: Logger,
): Promise<Access> {
  const nbdTls = await loadTlsKeys(nbd.tls);
  const tls = files === undefined ? undefined : await loadTls(files);
  if (tokenFile !== undefined) {
    const tokens = await loadTokens(tokenFile);
    const names = tokens.map(({ name }) => name);
    log.info({ tokenFile, names }, 'callers over TCP need a token');
    return { tokens, tls, nbdTls };
  }
  const who = tls?.clientCa === undefined ? 'on loopback' : 'with a certificate of --tls-client-ca';
  log.info({}, `no --token-file: every caller ${who} or on a Unix socket has all scopes`);
  return { tokens: undefined, tls, nbdTls };
}
