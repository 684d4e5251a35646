import { assert } from './assert.js';

/** What an event says; it becomes JSON only when somebody is sent it. */
export type EventFields = Readonly<Record<string, unknown>>;

/** One thing that happened. */
export interface RingEvent {
  readonly name: string;
  readonly fields: EventFields;
}

/** Where a layer tells what happened. The daemon hands one in. */
export interface EventSink {
  /** Takes note of an event, whose fields never change afterwards; waits for nobody. */
  push(name: string, fields: EventFields): void;
}

/** Drops everything. */
export const silentEvents: EventSink = { push() {} };

/**
 * The last events, numbered from 1 on without a gap. A reader keeps the number of the last one
 * that it saw and comes back for those behind it, so that a slow reader costs nothing; one that
 * is overtaken can tell.
 *
 * A cursor is such a number together with the ring's incarnation: one of another process's ring
 * is no cursor of this one.
 */
export class EventRing implements EventSink {
  /** Distinct for each ring that ever was. */
  readonly incarnation: string;
  readonly #slots: (RingEvent | undefined)[];
  #last = 0;
  #onPush: () => void = () => {};

  /**
   * @param incarnation letters and digits, distinct for each ring that ever was.
   * @param capacity how many events are kept.
   */
  constructor(incarnation: string, capacity: number) {
    assert(capacity > 0, 'a ring keeps at least one event');
    this.incarnation = incarnation;
    this.#slots = Array.from({ length: capacity }, () => undefined);
  }

  /** Number of the newest event; 0 before the first. */
  get last(): number {
    return this.#last;
  }

  /** Has `onPush` called behind each push, within it: it only takes note. */
  watch(onPush: () => void): void {
    this.#onPush = onPush;
  }

  push(name: string, fields: EventFields): void {
    this.#last++;
    this.#slots[this.#last % this.#slots.length] = { name, fields };
    this.#onPush();
  }

  /** The cursor of one who has seen event `number`, by default the newest. */
  cursor(number = this.#last): string {
    return `${this.incarnation}-${number}`;
  }

  /** The number in a cursor, if it is one of this ring and nothing behind it is lost. */
  position(cursor: string): number | undefined {
    const [incarnation, number = '', ...rest] = cursor.split('-');
    if (incarnation !== this.incarnation || rest.length > 0) return undefined;
    const position = /^\d{1,15}$/.test(number) ? Number(number) : NaN;
    return position <= this.#last && this.keepsAllAfter(position) ? position : undefined;
  }

  /** Whether every event behind `position` is kept still. */
  keepsAllAfter(position: number): boolean {
    return position >= this.#last - this.#slots.length;
  }

  /** Event `number`, which is kept still. */
  at(number: number): RingEvent {
    const event = this.#slots[number % this.#slots.length];
    assert(
      event !== undefined && number <= this.#last && this.keepsAllAfter(number - 1),
      `event ${number} is kept`,
    );
    return event;
  }
}
