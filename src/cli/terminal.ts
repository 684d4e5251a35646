import type { Writable } from 'node:stream';

import { print } from './print.js';
import { formatPairs, formatTable } from './table.js';
import type { Cell } from './table.js';

/** Where a verb prints: tables for people, or JSON. */
export class Terminal {
  readonly out: Writable;
  readonly #json: boolean;

  constructor(out: Writable, options: { readonly json: boolean }) {
    this.out = out;
    this.#json = options.json;
  }

  /** Prints an answer as JSON, or as a table; settles when it is written. @throws Error of the stream */
  async table(
    answer: unknown,
    heading: readonly string[],
    rows: readonly (readonly Cell[])[],
  ): Promise<void> {
    await this.#print(answer, () => formatTable(heading, rows));
  }

  /** Prints an answer as JSON, or as names with their values; settles and throws as {@link table}. */
  async pairs(answer: unknown, pairs: readonly (readonly [string, Cell])[]): Promise<void> {
    await this.#print(answer, () => formatPairs(pairs));
  }

  /** Prints an answer as JSON, else nothing: what was asked for is done; settles and throws as {@link table}. */
  async done(answer: unknown): Promise<void> {
    if (this.#json) await print(this.out, jsonLine(answer));
  }

  async #print(answer: unknown, text: () => string): Promise<void> {
    await print(this.out, this.#json ? jsonLine(answer) : text());
  }
}

function jsonLine(answer: unknown): string {
  return `${JSON.stringify(answer)}\n`;
}
