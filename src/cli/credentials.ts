import { readFileSync } from 'node:fs';

import type { Standard } from './standard.js';
import { UsageError } from './usage-error.js';

/** What a verb shows the daemon, so that it may call. */
export interface Credentials {
  readonly token: string | undefined;
  /** Certificate and key in PEM, for a daemon with --tls-client-ca. */
  readonly tls: { readonly cert: Buffer; readonly key: Buffer } | undefined;
}

/** What a header field can carry without being changed on the way. */
const HEADER_TEXT = /^[!-~]+$/;

/**
 * Credentials from `DAXD_TOKEN`, `DAXD_TLS_CERT` and `DAXD_TLS_KEY`: the arguments of a process
 * are open to every user.
 *
 * @throws UsageError naming the variable, never what it holds where that is secret.
 */
export function credentialsFrom(env: Standard['env']): Credentials {
  const { DAXD_TLS_CERT: cert, DAXD_TLS_KEY: key } = env;
  if ((cert === undefined) !== (key === undefined)) {
    throw new UsageError('DAXD_TLS_CERT and DAXD_TLS_KEY go together: set both');
  }
  return {
    token: headerVariable(env, 'DAXD_TOKEN'),
    tls:
      cert === undefined || key === undefined
        ? undefined
        : { cert: fileOf('DAXD_TLS_CERT', cert), key: fileOf('DAXD_TLS_KEY', key) },
  };
}

/** The header of `DAXD_LEASE_SECRET`, where that is set. @throws UsageError */
export function leaseSecretHeader(env: Standard['env']): Readonly<Record<string, string>> {
  const secret = headerVariable(env, 'DAXD_LEASE_SECRET');
  return secret === undefined ? {} : { 'lease-secret': secret };
}

function headerVariable(env: Standard['env'], name: string): string | undefined {
  const value = env[name];
  if (value === undefined || HEADER_TEXT.test(value)) return value;
  throw new UsageError(`${name} is empty, or holds blanks or other than ASCII: set it anew`);
}

function fileOf(name: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError(`${name}: ${path} cannot be read: ${why}`, { cause });
  }
}
