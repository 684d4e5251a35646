/** A file that somebody has open: its bytes stay, whatever becomes of its names. */
export class OpenFile {
  /** The inode. */
  readonly number: number;
  readonly #close: () => Promise<void>;
  #state: 'open' | 'closed' = 'open';

  constructor(number: number, close: () => Promise<void>) {
    this.number = number;
    this.#close = close;
  }

  /**
   * Lets go of the file. Once nobody has it, and it has no name, its blocks are freed: that is
   * done when this settles, unless pages are pinned. A second call does nothing.
   */
  async close(): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    await this.#close();
  }
}
