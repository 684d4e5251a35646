import type { AccessConfig } from '../config/access.js';
import type { Token } from '../http/callers.js';
import { loadTls } from '../http/tls-files.js';
import type { TlsOptions } from '../http/tls-files.js';
import { loadTokens } from '../http/token-file.js';
import type { Logger } from '../lib/logger.js';

/** How callers over TCP are told apart, with all files read. */
export interface Access {
  /** Undefined: no caller needs a token. */
  readonly tokens: readonly Token[] | undefined;
  /** Undefined: plain HTTP. */
  readonly tls: TlsOptions | undefined;
}

/**
 * Reads the tokens and the keys of TLS, and says in the log who may call.
 *
 * @throws DaxdError EINVAL when a file of them cannot be used.
 */
export async function readAccess(
  { tokenFile, tls: files }: AccessConfig,
  log: Logger,
): Promise<Access> {
  const tls = files === undefined ? undefined : await loadTls(files);
  if (tokenFile !== undefined) {
    const tokens = await loadTokens(tokenFile);
    const names = tokens.map(({ name }) => name);
    log.info({ tokenFile, names }, 'callers over TCP need a token');
    return { tokens, tls };
  }
  const who = tls?.clientCa === undefined ? 'on loopback' : 'with a certificate of --tls-client-ca';
  log.info({}, `no --token-file: every caller ${who} or on a Unix socket has all scopes`);
  return { tokens: undefined, tls };
}
