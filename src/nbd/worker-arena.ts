import { KIB } from '../lib/units.js';
import { type Arena, allocateArena, arenaPart } from '../media/arena.js';
import { Iovecs, iovecBytes } from './iovecs.js';
import { SALVAGE_BYTES } from './reply-salvage.js';

/** Requests that one call receives, and payloads that came along with them. */
const RECEIVE_BYTES = 256 * KIB;
const HEADS_BYTES = 128 * KIB;
/** The kernel's limit of pieces in one call (IOV_MAX). */
const PIECES_MAX = 1024;
const ZEROS_BYTES = 64 * KIB;

/** The memory of one worker, which every connection that it serves uses in turn. */
export class WorkerArena {
  readonly receive: Arena;
  /** Headers of replies. */
  readonly heads: Arena;
  /** Always zeros: what WRITE_ZEROES stores. */
  readonly zeros: Arena;
  readonly salvage: Arena;
  /** Replies of a batch. */
  readonly replies: Iovecs;
  /** Where one call receives: a payload's place in the map, then the next header's. */
  readonly incoming: Iovecs;
  /** Payloads that came with the requests, and their places in the map. */
  readonly copyFrom: Iovecs;
  readonly copyTo: Iovecs;

  /** @throws DaxdError ENOMEM. */
  constructor() {
    const parts = [
      RECEIVE_BYTES,
      HEADS_BYTES,
      ZEROS_BYTES,
      SALVAGE_BYTES,
      iovecBytes(PIECES_MAX),
      iovecBytes(2),
      iovecBytes(PIECES_MAX),
      iovecBytes(PIECES_MAX),
    ];
    const arena = allocateArena(parts.reduce((total, length) => total + length, 0));
    let at = 0;
    const take = (length: number): Arena => {
      at += length;
      return arenaPart(arena, at - length, length);
    };
    this.receive = take(RECEIVE_BYTES);
    this.heads = take(HEADS_BYTES);
    this.zeros = take(ZEROS_BYTES);
    this.salvage = take(SALVAGE_BYTES);
    this.replies = new Iovecs(take(iovecBytes(PIECES_MAX)), 0, PIECES_MAX);
    this.incoming = new Iovecs(take(iovecBytes(2)), 0, 2);
    this.copyFrom = new Iovecs(take(iovecBytes(PIECES_MAX)), 0, PIECES_MAX);
    this.copyTo = new Iovecs(take(iovecBytes(PIECES_MAX)), 0, PIECES_MAX);
  }
}
