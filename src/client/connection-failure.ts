import { ClientError, codeOf } from './client-error.js';

/** A connection that failed, or ended without an answer. */
export interface FailedConnection {
  readonly url: string;
  readonly isTls: boolean;
  /** Whether it showed a certificate of the caller's. */
  readonly isCertified: boolean;
  /** Whether a daemon has ever answered there. */
  readonly hasAnswered: boolean;
}

/** Of OpenSSL, where no CA that is known here signed what was shown. */
const UNTRUSTED: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);
const CLOSED = /^(ECONNRESET|EPIPE)$/;
/** What OpenSSL says between where it was noticed and where that is in its source. */
const OPENSSL_REASON = /:SSL routines:[^:]*:([^:]+):/;

/** The failure to get an answer, with what to do where TLS is what it failed at. */
export function connectionFailure(connection: FailedConnection, cause: Error): ClientError {
  const code = codeOf(cause);
  const why = OPENSSL_REASON.exec(cause.message)?.[1] ?? cause.message.trim();
  const { url, isTls } = connection;
  const message = isTls ? overTls(connection, code, why) : inTheClear(connection, code, why);
  return new ClientError(code, message ?? `no daemon answers at ${url}: ${why}`, { cause });
}

function overTls(
  { url, isCertified, hasAnswered }: FailedConnection,
  code: string,
  why: string,
): string | undefined {
  if (UNTRUSTED.has(code)) {
    return `no daemon that is trusted answers at ${url}: ${why}: name the file of its CA in NODE_EXTRA_CA_CERTS`;
  }
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return `no daemon of that name answers at ${url}: ${why}: call it by a name that its certificate has`;
  }
  if (code === 'EPROTO' && why === 'wrong version number') {
    return `no TLS is spoken at ${url}: a daemon without --tls-cert is called by http:`;
  }
  // An alert of TLS 1.3 comes behind the handshake, and may be lost where a request follows it.
  if (!code.startsWith('ERR_SSL_') && !CLOSED.test(code)) return undefined;
  if (hasAnswered) return undefined;
  return isCertified
    ? `${url} ended the connection: it may not take the certificate that it was shown (${why})`
    : `${url} ended the connection: it may want a certificate, give one with its key (${why})`;
}

function inTheClear(
  { url, hasAnswered }: FailedConnection,
  code: string,
  why: string,
): string | undefined {
  if (code.startsWith('HPE_')) return `no HTTP is spoken at ${url}: ${why}`;
  if (hasAnswered || !CLOSED.test(code) || !url.startsWith('http:')) return undefined;
  return `${url} ended the connection without an answer (${why}): a daemon with --tls-cert is called by https:`;
}
