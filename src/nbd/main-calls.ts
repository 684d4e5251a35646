import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';

import { assert } from '../lib/assert.js';
import type { ByteRange } from '../lib/byte-range.js';
import { DaxdError, type ErrorCode } from '../lib/errno.js';
import type { ExportDirectory, ExportInfo, OpenExport } from './export.js';

/** How the bytes of a range are given up; see {@link discard}. */
export type DiscardKind = 'punch' | 'zero';

/** What was not discarded, in bytes of the export, and how many pages of it are pinned. */
export interface Discarded {
  readonly left: readonly ByteRange[];
  readonly pinnedPages: number;
}

/** A range of the open export to give up. */
export interface DiscardRequest extends ByteRange {
  readonly kind: DiscardKind;
}

/** What a worker asks the thread that owns exports and pins. */
export type Ask =
  | { readonly ask: 'list' }
  | { readonly ask: 'describe'; readonly name: string }
  | { readonly ask: 'open'; readonly name: string }
  | ({ readonly ask: 'discard' } & DiscardRequest)
  | ({ readonly ask: 'try-discard' } & DiscardRequest);

/** What each of them is answered with. */
export interface Answers {
  readonly list: readonly ExportInfo[];
  readonly describe: ExportInfo;
  readonly open: OpenExport;
  readonly discard: Discarded;
  readonly 'try-discard': boolean;
}

/** What comes back: the value, or why not. */
export type Answer =
  { readonly value: unknown } | { readonly code: ErrorCode; readonly message: string };

/**
 * Calls from a worker to the main thread. The worker waits in each: it serves one connection
 * and has nothing else to do. The main thread answers between two of its turns, so what it
 * decides there holds against everything else that it does.
 */
export class MainCalls implements ExportDirectory {
  readonly #port: MessagePort;
  /** Counts answers; the main thread wakes this one after each. */
  readonly #answers: Int32Array;

  constructor(port: MessagePort, answers: Int32Array) {
    this.#port = port;
    this.#answers = answers;
  }

  list(): readonly Pick<ExportInfo, 'name' | 'description'>[] {
    return this.#call({ ask: 'list' });
  }

  describe(name: string): ExportInfo {
    return this.#call({ ask: 'describe', name });
  }

  open(name: string): OpenExport {
    return this.#call({ ask: 'open', name });
  }

  /**
   * Gives up what lies in a range of the open export, but for pinned pages and broken ones at
   * its ends.
   *
   * @throws DaxdError EOPNOTSUPP where the backing cannot do it, and nothing was done; EIO, ENOSPC.
   */
  discard(kind: DiscardKind, offset: number, length: number): Discarded {
    return this.#call({ ask: 'discard', kind, offset, length });
  }

  /**
   * Whether a range of the open export can be given up in that way; one of its bytes may be zero
   * then.
   *
   * @throws DaxdError EIO, ENOSPC.
   */
  tryDiscard(kind: DiscardKind, offset: number, length: number): boolean {
    return this.#call({ ask: 'try-discard', kind, offset, length });
  }

  #call<Kind extends Ask['ask']>(ask: Ask & { readonly ask: Kind }): Answers[Kind] {
    const before = Atomics.load(this.#answers, 0);
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port of a worker, not a window
    this.#port.postMessage(ask);
    // The wake-up of the answer before may come late, and wakes for nothing.
    while (Atomics.load(this.#answers, 0) === before) Atomics.wait(this.#answers, 0, before);
    const received: { readonly message: Answer } | undefined = receiveMessageOnPort(this.#port);
    assert(received !== undefined, 'an answer lies in the port once it is announced');
    const { message } = received;
    if ('code' in message) throw new DaxdError(message.code, message.message);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- at the other end of the port Connection answers each ask with its type
    return message.value as Answers[Kind];
  }
}
