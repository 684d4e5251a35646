import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';

/** Undoes one step of an attach. */
export type Release = () => void | Promise<void>;

/** An attach takes about a dozen steps; hundreds mean that something adds them in a loop. */
const ACTIONS_MAX = 256;

/**
 * What a device must undo when it detaches, newest first.
 *
 *     open --releaseAll--> releasing --every action ran--> released
 *
 * @kernel devm_add_action_or_reset, devres_release_all (drivers/base/devres.c)
 */
export class Devres {
  #state: 'open' | 'releasing' | 'released' = 'open';
  readonly #actions: { readonly name: string; readonly release: Release }[] = [];
  readonly #releaseLog: string[] = [];

  /** Names of the actions that were run, in the order in which each began. */
  get releaseLog(): readonly string[] {
    return this.#releaseLog;
  }

  /**
   * Takes over `release`; settles at once. Where it cannot be kept, runs it, awaits it and
   * then rejects, so that the caller never has to undo its step itself.
   *
   * @throws DaxdError ESHUTDOWN once the release began, ENOMEM with too many actions; or
   *   what `release` threw.
   */
  async addActionOrReset(name: string, release: Release): Promise<void> {
    if (this.#state === 'open' && this.#actions.length < ACTIONS_MAX) {
      this.#actions.push({ name, release });
      return;
    }
    this.#releaseLog.push(name);
    await release();
    throw this.#state === 'open'
      ? new DaxdError('ENOMEM', `release of ${name}: ${ACTIONS_MAX} actions are kept already`)
      : new DaxdError('ESHUTDOWN', `release of ${name}: the device is already ${this.#state}`);
  }

  /**
   * Runs every action, each once the one before it has settled, even where some fail: a late
   * error beats a leak.
   *
   * @throws AggregateError of the failures, each naming its action and carrying its cause.
   */
  async releaseAll(): Promise<void> {
    assert(this.#state === 'open', 'a device is released once');
    this.#state = 'releasing';
    const failures: Error[] = [];
    for (let action = this.#actions.pop(); action; action = this.#actions.pop()) {
      this.#releaseLog.push(action.name);
      try {
        await action.release();
      } catch (cause) {
        failures.push(new Error(`release of ${action.name}`, { cause }));
      }
    }
    this.#state = 'released';
    if (failures.length > 0) {
      const names = failures.map((failure) => failure.message).join(', ');
      throw new AggregateError(failures, `failed on detach: ${names}`);
    }
  }
}
