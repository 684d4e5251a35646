import type { Writable } from 'node:stream';

import type { CancelTimer, Clock } from '../lib/clock.js';
import type { EventRing, RingEvent } from '../lib/event-ring.js';

/** How often a quiet stream says that it is there, in milliseconds. */
const HEARTBEAT_MS = 15_000;
/** How long one that is cut off has to read what was sent to it, in milliseconds. */
const CUT_GRACE_MS = 5_000;
/** Text that is gathered before it is written, in characters. */
const CHUNK_LENGTH = 64 * 1024;

/** What a watcher asks for. */
export interface StreamRequest {
  /** Where it goes on; from now on without. */
  readonly cursor: string | undefined;
  readonly isWanted: (event: RingEvent) => boolean;
}

interface Stream extends StreamRequest {
  readonly out: Writable;
  /** Number of the last event that was sent, or passed over. */
  position: number;
}

/**
 * Those who watch a ring of events, each over a connection of server-sent events.
 *
 * A stream holds a place in the ring and no events of its own: what its connection does not
 * take waits in the ring. One that is overtaken there is cut off, and told so.
 */
export class EventStreams {
  /** Events that watchers missed. */
  dropped = 0;
  readonly #ring: EventRing;
  readonly #clock: Clock;
  readonly #streams = new Set<Stream>();
  /** What of the ring was sent already, as text: of the same for all. */
  readonly #texts = new WeakMap<RingEvent, string>();
  #isSending = false;
  #cancelHeartbeat: CancelTimer | undefined;

  constructor(ring: EventRing, clock: Clock) {
    this.#ring = ring;
    this.#clock = clock;
    ring.watch(() => {
      this.#sendSoon();
    });
  }

  /** How many watch now. */
  get clients(): number {
    return this.#streams.size;
  }

  /** Names this run of the daemon: distinct from that of any other. */
  get incarnation(): string {
    return this.#ring.incarnation;
  }

  /** Where a watcher goes on who knows all that is so far. */
  get cursor(): string {
    return this.#ring.cursor();
  }

  /**
   * Sends what happens, until the connection or the daemon ends. A cursor that is another
   * daemon's, or too old, gives one `resync`: look at everything anew, and go on from there.
   */
  open(out: Writable, request: StreamRequest): void {
    // It may have closed before anybody listened.
    if (out.destroyed) return;
    const { cursor } = request;
    const known = cursor === undefined ? this.#ring.last : this.#ring.position(cursor);
    const stream: Stream = { ...request, out, position: known ?? this.#ring.last };
    this.#streams.add(stream);
    out.on('close', () => this.#streams.delete(stream));
    // Its connection may break at any time; `close` follows.
    out.on('error', () => {});
    out.on('drain', () => {
      this.#send(stream);
    });
    out.write(known === undefined ? this.#resync() : this.#idLine(stream));
    this.#send(stream);
    this.#cancelHeartbeat ??= this.#beatLater();
  }

  /** Sends what is left and ends every stream. */
  end(): void {
    this.#cancelHeartbeat?.();
    this.#cancelHeartbeat = undefined;
    for (const stream of this.#streams) {
      this.#send(stream);
      this.#endOf(stream, '');
    }
  }

  /** Events of one turn of the event loop go out together, and after what made them. */
  #sendSoon(): void {
    if (this.#isSending || this.#streams.size === 0) return;
    this.#isSending = true;
    setImmediate(() => {
      this.#isSending = false;
      for (const stream of this.#streams) this.#send(stream);
    });
  }

  #send(stream: Stream): void {
    const { out } = stream;
    if (!this.#streams.has(stream)) return;
    if (!this.#ring.keepsAllAfter(stream.position)) {
      this.dropped += this.#ring.last - stream.position;
      this.#endOf(stream, this.#resync());
      return;
    }
    while (stream.position < this.#ring.last && !out.writableNeedDrain) {
      const text = this.#nextText(stream);
      if (text !== '') out.write(text);
    }
  }

  /** The next events that are wanted, as they are sent. */
  #nextText(stream: Stream): string {
    let text = '';
    while (stream.position < this.#ring.last && text.length < CHUNK_LENGTH) {
      stream.position++;
      const event = this.#ring.at(stream.position);
      if (stream.isWanted(event)) text += this.#textOf(event, stream.position);
    }
    return text;
  }

  #textOf(event: RingEvent, number: number): string {
    const known = this.#texts.get(event);
    if (known !== undefined) return known;
    const id = this.#ring.cursor(number);
    const text = `id: ${id}\nevent: ${event.name}\ndata: ${JSON.stringify(event.fields)}\n\n`;
    this.#texts.set(event, text);
    return text;
  }

  #resync(): string {
    return `id: ${this.cursor}\nevent: resync\ndata: {}\n\n`;
  }

  /** No event to its reader, who only takes note of where it is. */
  #idLine({ position }: Stream): string {
    return `id: ${this.#ring.cursor(position)}\n\n`;
  }

  #endOf(stream: Stream, text: string): void {
    this.#streams.delete(stream);
    stream.out.end(text);
    const cancelTimer = this.#clock.setTimer(() => stream.out.destroy(), CUT_GRACE_MS);
    stream.out.on('close', cancelTimer);
  }

  #beatLater(): CancelTimer {
    return this.#clock.setTimer(() => {
      for (const stream of this.#streams) {
        // With the place, which filtered events have moved on.
        if (!stream.out.writableNeedDrain) stream.out.write(`: alive\n${this.#idLine(stream)}`);
      }
      this.#cancelHeartbeat = this.#streams.size === 0 ? undefined : this.#beatLater();
    }, HEARTBEAT_MS);
  }
}
