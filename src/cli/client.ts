import type { IncomingMessage } from 'node:http';
import type { RequestOptions } from 'node:https';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import type { Credentials } from './credentials.js';
import { requestFor, targetOf } from '../client/target.js';
import { parsedJson } from '../lib/json.js';

/** The daemon refused. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
}

/** No daemon answers there. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}

/** A call to the daemon. */
export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Starts with a slash; percent-encoded. */
  readonly path: string;
  /** Header fields beside those that every call has. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly json?: object;
  /** Sent as it comes; what it fails with, the call fails with. */
  readonly stream?: Readable;
}

/** Calls one daemon, at `http://host:port`, `https://host:port` or `unix:/path`. */
export class Client {
  readonly url: string;
  readonly credentials: Credentials;
  readonly #target: RequestOptions;
  readonly #headers: Readonly<Record<string, string>>;

  /** @throws TypeError when `url` is none of these. */
  constructor(url: string, credentials: Credentials) {
    const { token, tls } = credentials;
    this.url = url;
    this.credentials = credentials;
    this.#target = { ...targetOf(url), ...tls };
    this.#headers = {
      ...(url.startsWith('unix:') && { host: 'localhost' }),
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
    };
  }

  /**
   * Calls, and takes the JSON of the answer. Its shape is that of the schema which the daemon
   * wrote it by; it is not checked again.
   *
   * @throws RefusedError, UnreachableError
   */
  async json<Answer>(call: Call): Promise<Answer> {
    return jsonOf<Answer>(await this.#send(call), this.url);
  }

  /** Calls where the answer has no body. @throws RefusedError, UnreachableError */
  async call(call: Call): Promise<void> {
    const response = await this.#send(call);
    response.resume();
  }

  /**
   * Calls, and gives the body of the answer as it comes.
   *
   * @throws RefusedError, UnreachableError
   */
  async stream(call: Call): Promise<IncomingMessage> {
    return this.#send(call);
  }

  async #send(call: Call): Promise<IncomingMessage> {
    const response = await this.#answer(call);
    const { statusCode = 0 } = response;
    if (statusCode >= 200 && statusCode < 300) return response;
    const text = await textOf(response, this.url);
    throw refusal(statusCode, text);
  }

  async #answer({ method, path, headers, json, stream }: Call): Promise<IncomingMessage> {
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
    });
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      stream?.once('error', reject);
      outgoing.once('response', resolve);
      outgoing.on('error', (cause) => {
        reject(
          new UnreachableError(`no daemon answers at ${this.url}: ${cause.message}`, { cause }),
        );
      });
    });
    if (stream === undefined) outgoing.end(body);
    else {
      // An early refusal ends the upload, once it has said why.
      outgoing.once('response', (response: IncomingMessage) => {
        response.once('end', () => outgoing.destroy());
      });
      pipeline(stream, outgoing).catch((cause: unknown) => outgoing.destroy(asError(cause)));
    }
    return answered;
  }
}

/**
 * The JSON of an answer, as what the caller knows it to be.
 *
 * @throws UnreachableError where it is none, no daxd answered, or where it is not all of it.
 */
export async function jsonOf<Answer>(answer: IncomingMessage, url: string): Promise<Answer> {
  const text = await textOf(answer, url);
  try {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one place where the wire gets a type
    return JSON.parse(text) as Answer;
  } catch (cause) {
    const message = `what answers at ${url} is no daxd: give its address with --url or in DAXD_URL`;
    throw new UnreachableError(message, { cause });
  }
}

/**
 * The bytes of an answer as they come.
 *
 * @throws UnreachableError where the connection ends before they do.
 */
export async function* bytesOf(answer: IncomingMessage, url: string): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of answer) if (chunk instanceof Buffer) yield chunk;
  } catch (cause) {
    const message = `${url} ended the connection in the middle of its answer: what came is not all of it`;
    throw new UnreachableError(message, { cause });
  }
}

async function textOf(answer: IncomingMessage, url: string): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of bytesOf(answer, url)) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

function refusal(statusCode: number, text: string): RefusedError {
  const problem = parsedJson(text);
  const isProblem =
    typeof problem === 'object' && problem !== null && 'code' in problem && 'detail' in problem;
  if (!isProblem) return new RefusedError(`status ${statusCode}`);
  return new RefusedError(`${String(problem.code)}: ${String(problem.detail)}`);
}

function asError(cause: unknown): Error {
  return cause instanceof Error ? cause : new TypeError(String(cause));
}
