import type { IncomingMessage } from 'node:http';
import type { RequestOptions } from 'node:https';
import { text } from 'node:stream/consumers';

import { refusal, uncertified, unreachable } from './client-error.js';
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
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Starts with a slash; percent-encoded. */
  readonly path: string;
  /** Sent as JSON. */
  readonly json?: object;
  readonly headers?: Readonly<Record<string, string>>;
  /** Aborted: the call fails. */
  readonly signal?: AbortSignal;
}

/** How long a connection may be without a byte, in milliseconds. */
const SILENCE_MS = 45_000;

/** Calls one daemon; each call is a connection of its own. */
export class Connection {
  readonly url: string;
  #hasAnswered = false;
  readonly #target: RequestOptions;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #isUncertified: boolean;

  /** @throws TypeError for what is no address of a daemon. */
  constructor({ url, token, tls }: ConnectionOptions) {
    this.url = url;
    this.#target = { ...targetOf(url), ...tls };
    this.#isUncertified = this.#target.protocol === 'https:' && tls === undefined;
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
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one place where the wire gets a type
      return body === '' ? undefined : (JSON.parse(body) as Answer);
    } catch (cause) {
      throw unreachable(this.url, asError(cause));
    }
  }

  /**
   * Calls, and gives the body of the answer as it comes, in UTF-8. It fails when nothing comes
   * for 45 seconds.
   *
   * @throws ClientError
   */
  async open({ method, path, json, headers, signal }: Call): Promise<IncomingMessage> {
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
        ...(body !== undefined && { 'content-type': 'application/json' }),
      },
      ...(signal !== undefined && { signal }),
    });
    outgoing.setTimeout(SILENCE_MS, () => outgoing.destroy(new Error('nothing came for too long')));
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      outgoing.once('response', resolve);
      outgoing.on('error', (cause) => {
        const refused = this.#isUncertified ? uncertified(this.url, cause) : undefined;
        reject(refused ?? unreachable(this.url, cause));
      });
    });
    outgoing.end(body);
    const response = await answered;
    this.#hasAnswered = true;
    const { statusCode = 0 } = response.setEncoding('utf8');
    if (statusCode >= 200 && statusCode < 300) return response;
    throw refusal(statusCode, await textOrNothing(response));
  }
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
