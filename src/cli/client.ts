import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';

import { allPages } from '../client/all-pages.js';
import type { Listing, PageAnswer } from '../client/all-pages.js';
import { ClientError } from '../client/client-error.js';
import { Connection } from '../client/connection.js';
import type { Call } from '../client/connection.js';
import type { Credentials } from './credentials.js';

/** What was refused, as the daemon answered it, or likewise. */
interface Refusal {
  readonly code: string;
  readonly detail: string;
  /** Of the answer; absent where a verb itself refuses. */
  readonly status?: number;
}

/** The daemon refused, or a verb did. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly problem: Refusal;

  constructor(problem: Refusal, options?: ErrorOptions) {
    super(`${problem.code}: ${problem.detail}`, options);
    this.problem = problem;
  }
}

/** No daemon answers there. */
export class UnreachableError extends Error {
  override readonly name = 'UnreachableError';
}

/** A verb waits as long as its user does. */
const SILENCE_MS = 0;

/** Calls one daemon, at `http://host:port`, `https://host:port` or `unix:/path`. */
export class Client {
  readonly url: string;
  readonly credentials: Credentials;
  readonly #connection: Connection;

  /** @throws TypeError when `url` is none of these. */
  constructor(url: string, credentials: Credentials) {
    this.url = url;
    this.credentials = credentials;
    this.#connection = new Connection({ url, ...credentials }, SILENCE_MS);
  }

  /**
   * Calls, and takes the JSON of the answer. Its shape is that of the schema which the daemon
   * wrote it by; it is not checked again.
   *
   * @throws RefusedError, UnreachableError
   */
  async json<Answer>(call: Call): Promise<Answer> {
    return jsonOf<Answer>(await this.stream(call), this.url);
  }

  /** All that a listing has, page after page. @throws RefusedError, UnreachableError */
  async list<Item>(listing: Listing<string>): Promise<Item[]> {
    const get = (path: string): Promise<PageAnswer<string, Item>> =>
      this.json<PageAnswer<string, Item>>({ method: 'GET', path });
    return allPages(get, listing);
  }

  /** Calls where the answer has no body. @throws RefusedError, UnreachableError */
  async call(call: Call): Promise<void> {
    const response = await this.stream(call);
    response.resume();
  }

  /**
   * Calls, and gives the body of the answer as it comes.
   *
   * @throws RefusedError, UnreachableError
   */
  async stream(call: Call): Promise<IncomingMessage> {
    try {
      return await this.#connection.open(call);
    } catch (error) {
      throw asVerbError(error);
    }
  }
}

/** A failure of the client library as a verb ends with it. */
export function asVerbError(error: unknown): unknown {
  if (!(error instanceof ClientError)) return error;
  const { code, message, status, problem } = error;
  if (status === undefined) return new UnreachableError(message, { cause: error });
  return new RefusedError(problem ?? { code, detail: message, status }, { cause: error });
}

/**
 * The JSON of an answer, as what the caller knows it to be.
 *
 * @throws UnreachableError where it is none, no daxd answered, or where it is not all of it.
 */
export async function jsonOf<Answer>(answer: IncomingMessage, url: string): Promise<Answer> {
  const body = await text(bytesOf(answer, url));
  try {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one place where a verb's answer gets a type
    return JSON.parse(body) as Answer;
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
