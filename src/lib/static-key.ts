import { assert } from './assert.js';

/**
 * A branch that is off until somebody needs it, and off again when nobody does.
 *
 * @kernel DEFINE_STATIC_KEY_FALSE, static_branch_enable (linux/jump_label.h)
 */
export class StaticKey {
  #users = 0;

  get enabled(): boolean {
    return this.#users > 0;
  }

  /** How many gets are not yet put. */
  get users(): number {
    return this.#users;
  }

  get(): void {
    this.#users++;
  }

  put(): void {
    assert(this.#users > 0, 'a static key is put once for each get');
    this.#users--;
  }
}
