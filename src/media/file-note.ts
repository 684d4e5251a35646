import { fstatSync, fsyncSync } from 'node:fs';

import { fileSystemError } from './system-call-error.js';
import { readXattr, removeXattr, writeXattr } from './xattr.js';
import type { FileAttribute } from './xattr.js';

/**
 * A line of text that a file carries with it, under whatever name it is opened: an extended
 * attribute. A copy of the file does not have it, even where the attribute was copied.
 */
export class FileNote {
  readonly #attribute: FileAttribute;

  constructor(attribute: FileAttribute) {
    this.#attribute = attribute;
  }

  /** Undefined where there is none, or where the filesystem keeps none. @throws DaxdError EIO */
  read(): string | undefined {
    const value = readXattr(this.#attribute)?.toString('utf8');
    const space = value?.indexOf(' ') ?? -1;
    return value?.slice(0, space) === this.#inode ? value?.slice(space + 1) : undefined;
  }

  /**
   * Writes it, in place of one that is there; durable when this returns.
   *
   * @returns false where the filesystem keeps none, or is full.
   * @throws DaxdError EIO
   */
  write(text: string): boolean {
    if (!writeXattr(this.#attribute, Buffer.from(`${this.#inode} ${text}`))) return false;
    this.#sync();
    return true;
  }

  /** Takes it away. @throws DaxdError EIO */
  remove(): void {
    removeXattr(this.#attribute);
  }

  /** Names the attribute, for whoever has to deal with it by hand. */
  get name(): string {
    return this.#attribute.name;
  }

  /** A device node has nothing to be synced, and refuses it. */
  #sync(): void {
    const { fd, path } = this.#attribute;
    try {
      if (fstatSync(fd).isFile()) fsyncSync(fd);
    } catch (cause) {
      throw fileSystemError(`sync ${path}`, cause);
    }
  }

  get #inode(): string {
    return String(fstatSync(this.#attribute.fd, { bigint: true }).ino);
  }
}
