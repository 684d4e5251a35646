import type { ClientRequest, IncomingMessage } from 'node:http';
import type { RequestOptions } from 'node:https';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';

import type { ClientError } from './client-error.js';
import { refusal, unreachable } from './client-error.js';
import { connectionFailure } from './connection-failure.js';
import { requestFor, targetOf } from './target.js';

/** Where a daemon is, and what it is shown. */
export interface ConnectionOptions {
  /** `http://host:port`, `https://host:port` or `unix:/path`. */
  readonly url: string;
  /** Sent as a bearer token. */
  readonly token?: string | undefined;
  /**
   * Certificate and key in PEM, for a daemon with `--tls-client-ca`. The daemon's own is checked
   * against the CAs of Node, and of the file that `NODE_EXTRA_CA_CERTS` names.
   */
  readonly tls?: { readonly cert: string | Buffer; readonly key: string | Buffer } | undefined;
}

/** A call to the daemon. */
export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Starts with a slash; percent-encoded. */
  readonly path: string;
  /** Sent as JSON. */
  readonly json?: object;
  /** Sent as it comes; what it fails with, the call fails with. */
  readonly stream?: Readable;
  readonly headers?: Readonly<Record<string, string>>;
  /** How long the daemon may take to answer, in milliseconds, beside what silence may last. */
  readonly waitMs?: number;
  /** Aborted: the call fails. */
  readonly signal?: AbortSignal;
}

/** How long a connection may be without a byte, in milliseconds, unless it is told otherwise. */
const SILENCE_MS = 45_000;

/** Calls one daemon; each call is a connection of its own. */
export class Connection {
  readonly url: string;
  #hasAnswered = false;
  readonly #silenceMs: number;
  readonly #target: RequestOptions;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #isCertified: boolean;

  /**
   * @param silenceMs how long a call may be without a byte; 0 is any time.
   * @throws TypeError for what is no address of a daemon.
   */
  constructor({ url, token, tls }: ConnectionOptions, silenceMs = SILENCE_MS) {
    this.url = url;
    this.#silenceMs = silenceMs;
    this.#target = { ...targetOf(url), ...tls };
    this.#isCertified = tls !== undefined;
    this.#headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  }

  /** Whether a daemon has ever answered here. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /**
   * Calls, and takes the JSON of the answer; undefined where it has no body. Its shape is that
   * of the schema which the daemon wrote it by; it is not checked again.
   *
   * @throws ClientError
   */
  async call<Answer>(call: Call): Promise<Answer | undefined> {
    const response = await this.open(call);
    try {
      const body = await text(response);
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one place where what the library is answered gets a type
      return body === '' ? undefined : (JSON.parse(body) as Answer);
    } catch (cause) {
      throw unreachable(this.url, asError(cause));
    }
  }

  /**
   * Calls, and gives the body of the answer as it comes.
   *
   * @throws ClientError; what the stream fails with.
   */
  async open(call: Call): Promise<IncomingMessage> {
    const { method, path, json, stream, headers, signal, waitMs = 0 } = call;
    const body = json === undefined ? undefined : JSON.stringify(json);
    const send = await requestFor(this.#target);
    const outgoing = send({
      ...this.#target,
      method,
      path,
      agent: false,
      headers: {
        ...this.#headers,
        ...headers,
        // Told to close, a server does so with the upload unread: the reset that this makes comes
        // before the refusal is read.
        ...(stream !== undefined && { connection: 'keep-alive' }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(signal !== undefined && { signal }),
    });
    const silenceMs = this.#silenceMs === 0 ? 0 : this.#silenceMs + waitMs;
    outgoing.setTimeout(silenceMs, () => outgoing.destroy(new Error('nothing came for too long')));
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      stream?.once('error', reject);
      outgoing.once('response', resolve);
      outgoing.on('error', (cause) => {
        reject(this.#failure(cause));
      });
    });
    if (stream === undefined) outgoing.end(body);
    else upload(stream, outgoing);
    const response = await answered;
    this.#hasAnswered = true;
    const { statusCode = 0 } = response;
    if (statusCode >= 200 && statusCode < 300) return response;
    throw refusal(statusCode, await textOrNothing(response));
  }

  #failure(cause: Error): ClientError {
    const isTls = this.#target.protocol === 'https:';
    const { url, hasAnswered } = this;
    return connectionFailure({ url, isTls, isCertified: this.#isCertified, hasAnswered }, cause);
  }
}

/** An early refusal ends the upload, once it has said why. */
function upload(stream: Readable, outgoing: ClientRequest): void {
  outgoing.once('response', (response: IncomingMessage) => {
    response.once('end', () => outgoing.destroy());
  });
  pipeline(stream, outgoing).catch((cause: unknown) => outgoing.destroy(asError(cause)));
}

async function textOrNothing(response: IncomingMessage): Promise<string> {
  try {
    return await text(response);
  } catch {
    return '';
  }
}

function asError(cause: unknown): Error {
  return cause instanceof Error ? cause : new TypeError(String(cause));
}
