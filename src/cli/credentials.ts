import { readFileSync } from 'node:fs';
import type { SecureContextOptions } from 'node:tls';

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
export async function credentialsFrom(env: Standard['env']): Promise<Credentials> {
  const { DAXD_TLS_CERT: cert, DAXD_TLS_KEY: key } = env;
  if ((cert === undefined) !== (key === undefined)) {
    throw new UsageError('DAXD_TLS_CERT and DAXD_TLS_KEY go together: set both');
  }
  return {
    token: headerVariable(env, 'DAXD_TOKEN'),
    tls: cert === undefined || key === undefined ? undefined : await keysOf(cert, key),
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

/** Certificate and key, tried: a call that they cannot be used for says less. */
async function keysOf(certPath: string, keyPath: string): Promise<Credentials['tls']> {
  const cert = fileOf('DAXD_TLS_CERT', certPath);
  const key = fileOf('DAXD_TLS_KEY', keyPath);
  // Most daemons are called without TLS, whose modules take their time to load.
  const { createSecureContext } = await import('node:tls');
  const attempt = (what: string, options: SecureContextOptions): void => {
    try {
      createSecureContext(options);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new UsageError(`${what}: ${why}`, { cause });
    }
  };
  attempt(`DAXD_TLS_CERT: ${certPath} is no certificate in PEM`, { cert });
  attempt(`DAXD_TLS_KEY: ${keyPath} is no key in PEM of that certificate`, { cert, key });
  return { cert, key };
}

function fileOf(name: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UsageError(`${name}: ${path} cannot be read: ${why}`, { cause });
  }
}
