import { X509Certificate, createPrivateKey } from 'node:crypto';

import { DaxdError } from '../lib/errno.js';
import { readOptionFile } from '../lib/option-file.js';

/** Where the keys of TLS lie; all of it PEM. */
export interface TlsFiles {
  /** The certificate, and what leads from it to a CA. */
  readonly cert: string;
  readonly key: string;
  /** Clients need a certificate that one of these signed; undefined: they need none. */
  readonly clientCa: string | undefined;
}

/** What a listener needs to speak TLS. */
export interface TlsOptions {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly clientCa: Buffer | undefined;
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/**
 * Reads the keys, once, at start. OpenSSL takes a file without a certificate for an empty list,
 * so each is looked at here.
 *
 * @throws DaxdError EINVAL naming the option and the file that is no PEM, or does not belong to
 *   the other; ENOENT, EACCES as {@link readOptionFile}.
 */
export async function loadTls({ cert, key, clientCa }: TlsFiles): Promise<TlsOptions> {
  const options = {
    cert: await readOptionFile(`--tls-cert ${cert}`, cert),
    key: await readOptionFile(`--tls-key ${key}`, key),
    clientCa:
      clientCa === undefined
        ? undefined
        : await readOptionFile(`--tls-client-ca ${clientCa}`, clientCa),
  };
  const [own] = certificatesIn(`--tls-cert ${cert}`, options.cert);
  const privateKey = parsed(`--tls-key ${key}`, () => createPrivateKey(options.key));
  if (options.clientCa !== undefined) {
    certificatesIn(`--tls-client-ca ${clientCa}`, options.clientCa);
  }
  if (own?.checkPrivateKey(privateKey) !== true) {
    throw new DaxdError('EINVAL', `--tls-key ${key} is not the key of --tls-cert ${cert}`);
  }
  return options;
}

function certificatesIn(what: string, pem: Buffer): X509Certificate[] {
  const blocks = pem.toString('latin1').match(PEM_CERTIFICATE) ?? [];
  if (blocks.length === 0) throw new DaxdError('EINVAL', `${what} holds no certificate in PEM`);
  return blocks.map((block) => parsed(what, () => new X509Certificate(block)));
}

function parsed<T>(what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new DaxdError('EINVAL', `${what} cannot be used: ${why}`, { cause });
  }
}
