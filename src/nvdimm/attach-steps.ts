import type { Clock } from '../lib/clock.js';
import { DaxdError, type ErrorCode } from '../lib/errno.js';

/** The steps of a probe and attach, in the order in which they may run. */
export type AttachStepName =
  | 'common-probe'
  | 'enable-raw-access'
  | 'sniff-btt'
  | 'sniff-pfn'
  | 'sniff-dax'
  | 'alloc-pmem'
  | 'setup-pfn'
  | 'disable-raw-access'
  | 'request-mem-region'
  | 'alloc-queue'
  | 'share-usage-counter'
  | 'map-pfn'
  | 'map-pages'
  | 'map-raw'
  | 'register-freeze'
  | 'check-map'
  | 'queue-limits'
  | 'alloc-disk'
  | 'badblocks'
  | 'alloc-dax'
  | 'add-disk'
  | 'revalidate';

/** How one step went. */
export interface AttachStep {
  readonly step: AttachStepName;
  /** Whether the attach could go on. */
  readonly ok: boolean;
  /** Why not; on a sniff that is ok, its ENODEV for "not this kind". */
  readonly errno?: ErrorCode;
  readonly seconds: number;
}

/** Runs before each step; what it throws fails the step, so that tests can fail any. */
export type BeforeStep = (step: AttachStepName) => void;

/** Runs the steps of an attach and keeps how each went. */
export class AttachSteps {
  readonly #clock: Clock;
  readonly #beforeStep: BeforeStep | undefined;
  readonly #recorded: AttachStep[] = [];

  constructor(clock: Clock, beforeStep?: BeforeStep) {
    this.#clock = clock;
    this.#beforeStep = beforeStep;
  }

  get recorded(): readonly AttachStep[] {
    return this.#recorded;
  }

  /** Runs one step and records it. What it throws passes through. */
  async run<T>(step: AttachStepName, work: () => T | Promise<T>): Promise<T> {
    return this.#step(step, work, () => false);
  }

  /** As `run`, but ENODEV means "not this kind": the result is then undefined. */
  async sniff<T>(step: AttachStepName, work: () => T): Promise<T | undefined> {
    try {
      return await this.#step(step, work, isOtherKind);
    } catch (error) {
      if (!isOtherKind(error)) throw error;
      return undefined;
    }
  }

  /** @param isFine whether the attach goes on after what `work` threw */
  async #step<T>(
    step: AttachStepName,
    work: () => T | Promise<T>,
    isFine: (error: unknown) => boolean,
  ): Promise<T> {
    const startedMs = this.#clock.nowMs();
    try {
      this.#beforeStep?.(step);
      const result = await work();
      this.#record({ step, ok: true }, startedMs);
      return result;
    } catch (error) {
      this.#record({ step, ok: isFine(error), ...errnoOf(error) }, startedMs);
      throw error;
    }
  }

  #record(outcome: Omit<AttachStep, 'seconds'>, startedMs: number): void {
    this.#recorded.push({ ...outcome, seconds: (this.#clock.nowMs() - startedMs) / 1000 });
  }
}

function errnoOf(error: unknown): { readonly errno?: ErrorCode } {
  return error instanceof DaxdError ? { errno: error.code } : {};
}

function isOtherKind(error: unknown): boolean {
  return error instanceof DaxdError && error.code === 'ENODEV';
}
