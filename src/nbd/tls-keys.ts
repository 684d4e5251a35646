import { join } from 'node:path';
import { createSecureContext } from 'node:tls';

import { DaxdError } from '../lib/errno.js';
import { readOptionFile } from '../lib/option-file.js';
import type { TlsKeys } from './tls-transport.js';

/** Where the keys of TLS lie. */
export interface TlsKeyFiles {
  /** A directory with ca-cert.pem, server-cert.pem and server-key.pem. */
  readonly certificates: string | undefined;
  /** A file with a line `user:hexkey` each. */
  readonly psk: string | undefined;
}

const PSK_LINE = /^([^:]+):([0-9a-fA-F]{2,})$/;

/**
 * Reads the keys, once, at start.
 *
 * @returns undefined where no TLS is asked for.
 * @throws DaxdError EINVAL naming the file that is not what it should be; ENOENT, EACCES as
 *   {@link readOptionFile}.
 */
export async function loadTlsKeys({
  certificates,
  psk,
}: TlsKeyFiles): Promise<TlsKeys | undefined> {
  if (certificates === undefined && psk === undefined) return undefined;
  return {
    x509: certificates === undefined ? undefined : await readCertificates(certificates),
    psk: psk === undefined ? undefined : await readPsk(psk),
  };
}

async function readCertificates(directory: string): Promise<NonNullable<TlsKeys['x509']>> {
  const option = '--nbd-tls-certificates';
  const read = async (name: string): Promise<Buffer> => {
    const path = join(directory, name);
    return readOptionFile(`${option}: ${path}`, path);
  };
  const ca = await read('ca-cert.pem');
  const cert = await read('server-cert.pem');
  const key = await read('server-key.pem');
  try {
    createSecureContext({ ca, cert, key });
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : String(cause);
    throw new DaxdError('EINVAL', `${option} ${directory}: ${detail}: are these PEM, and a pair?`, {
      cause,
    });
  }
  return { ca, cert, key };
}

async function readPsk(path: string): Promise<ReadonlyMap<string, Uint8Array>> {
  const keys = new Map<string, Uint8Array>();
  const lines = (await readOptionFile(`--nbd-tls-psk ${path}`, path)).toString('utf8').split('\n');
  for (const [i, line] of lines.entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const match = PSK_LINE.exec(line.trim());
    if (match?.[1] === undefined || match[2] === undefined || match[2].length % 2 !== 0) {
      throw new DaxdError(
        'EINVAL',
        `--nbd-tls-psk ${path}: line ${i + 1} is not user:hexkey: make one with psktool`,
      );
    }
    keys.set(match[1], Buffer.from(match[2], 'hex'));
  }
  if (keys.size > 0) return keys;
  throw new DaxdError('EINVAL', `--nbd-tls-psk ${path} holds no key: make one with psktool`);
}
