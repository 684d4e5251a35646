import type { Writable } from 'node:stream';

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

  /** Prints an answer as JSON, or as a table. */
  table(answer: unknown, heading: readonly string[], rows: readonly (readonly Cell[])[]): void {
    this.#print(answer, () => formatTable(heading, rows));
  }

  /** Prints an answer as JSON, or as names with their values. */
  pairs(answer: unknown, pairs: readonly (readonly [string, Cell])[]): void {
    this.#print(answer, () => formatPairs(pairs));
  }

  #print(answer: unknown, text: () => string): void {
    this.out.write(this.#json ? `${JSON.stringify(answer)}\n` : text());
  }
}
