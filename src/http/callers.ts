import { hash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

import { HttpRefusal } from './problem.js';
import { SCOPES } from './scope.js';
import type { Scope } from './scope.js';

/** Who calls, as far as daxd knows. */
export interface Caller {
  /** What the token file calls it; undefined for a caller that needs no token. */
  readonly name: string | undefined;
  readonly scopes: ReadonlySet<Scope>;
}

/** A token that callers may send; the token itself is not kept. */
export interface Token extends Caller {
  readonly name: string;
  /** SHA-256 of the token. */
  readonly digest: Uint8Array;
}

const TRUSTED: Caller = { name: undefined, scopes: new Set(SCOPES) };
/** Credentials of RFC 6750; the scheme's name is case-insensitive. */
const BEARER = /^bearer +([A-Za-z0-9._~+/-]+=*) *$/i;

/** The SHA-256 of a token, by which it is told from others. */
export function digestOf(token: string): Uint8Array {
  return hash('sha256', token, 'buffer');
}

/**
 * Tells who a caller is. Without tokens all are trusted: what they reach is a Unix socket,
 * loopback, or a listener that looks at certificates. With tokens a Unix socket is still
 * trusted, for its file mode says who may open it.
 */
export class Callers {
  readonly #tokens: readonly Token[] | undefined;
  readonly #unixSockets: WeakSet<object>;

  /**
   * @param tokens undefined: no caller needs one.
   * @param unixSockets connections that came in over a Unix socket.
   */
  constructor(tokens: readonly Token[] | undefined, unixSockets: WeakSet<object>) {
    this.#tokens = tokens;
    this.#unixSockets = unixSockets;
  }

  /** @throws HttpRefusal 401 with EACCES for a caller without a token, or with an unknown one. */
  of({ headers, socket }: IncomingMessage): Caller {
    if (this.#tokens === undefined || this.#unixSockets.has(socket)) return TRUSTED;
    const { authorization } = headers;
    if (authorization === undefined) {
      throw unknownCaller('Bearer realm="daxd"', 'no token');
    }
    const token = BEARER.exec(authorization)?.[1];
    const caller = token === undefined ? undefined : this.#find(this.#tokens, digestOf(token));
    if (caller !== undefined) return caller;
    throw unknownCaller('Bearer realm="daxd", error="invalid_token"', 'not a token of this daemon');
  }

  /** Whether a caller is a process of this machine: it came over a Unix socket or loopback. */
  isLocal({ socket }: IncomingMessage): boolean {
    return this.#unixSockets.has(socket) || isLoopback(socket.remoteAddress);
  }

  /** Compares with every token, so that the time tells nothing about any of them. */
  #find(tokens: readonly Token[], digest: Uint8Array): Token | undefined {
    let found: Token | undefined;
    for (const token of tokens) if (timingSafeEqual(token.digest, digest)) found = token;
    return found;
  }
}

function isLoopback(address = ''): boolean {
  return address === '::1' || /^(::ffff:)?127\./.test(address);
}

function unknownCaller(challenge: string, what: string): HttpRefusal {
  return new HttpRefusal({
    status: 401,
    code: 'EACCES',
    message: `${what}: send one of --token-file as Authorization: Bearer TOKEN`,
    headers: { 'www-authenticate': challenge },
  });
}
