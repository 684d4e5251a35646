import { assert } from '../lib/assert.js';
import { GIB, KIB, MIB } from '../lib/units.js';

/** What one daemon holds at most, and for how long it waits on its peers: one table. */
export const LIMITS = {
  /** Bytes of a JSON body; a longer one is EFBIG. */
  jsonBodyBytesMax: 64 * KIB,
  /** Milliseconds for the JSON body of a request to come whole. */
  bodyTimeoutMs: 60_000,
  /** Open connections on one listener; further ones are closed at once. */
  connectionsMax: 4096,
  /** Requests on one connection that are not answered yet; one more, and it is cut. */
  requestsUnderWayMax: 64,
  /** Milliseconds for a client to send the head of a request. */
  headersTimeoutMs: 60_000,
  /** Milliseconds that an idle connection stays open between two requests. */
  keepAliveTimeoutMs: 72_000,
  /** Bytes that an upload gathers before it stores them, so that one flush covers many packets. */
  writeChunkBytes: MIB,
  /** Addresses in `--listen`, and in `--nbd`. */
  listenersMax: 16,
  /** Of `--nbd-connections` and `--nbd-options`. */
  nbdCountMax: 4096,
  /** Bytes of `--nbd-option-size`: a name of 4096 bytes fits, and no option needs more. */
  nbdOptionBytesMin: 8 * KIB,
  nbdOptionBytesMax: 32 * MIB,
  /** Bytes of `--nbd-in-flight`. */
  nbdInFlightBytesMin: 64 * KIB,
  nbdInFlightBytesMax: GIB,
  /** Milliseconds of `--nbd-handshake-timeout`. */
  nbdHandshakeMsMin: 100,
  nbdHandshakeMsMax: 3600 * 1000,
  /** Names in `--allow-host`. */
  allowHostsMax: 64,
  /** Events that a watcher may come back for. */
  eventsKept: 10_000,
  /** Finished operations that can still be asked for by id. */
  finishedOperationsMax: 1024,
  /** Milliseconds of `--drain-timeout`. */
  drainTimeoutMsMax: 24 * 3600 * 1000,
  /** Milliseconds that running requests get to end once nothing is pinned any more. */
  closeGraceMs: 2_000,
} as const;

assert(
  LIMITS.jsonBodyBytesMax < LIMITS.writeChunkBytes,
  'a JSON body is smaller than a chunk of a file',
);
assert(
  LIMITS.keepAliveTimeoutMs > LIMITS.headersTimeoutMs,
  'an idle connection outlives the wait for a head, so that the latter reports the slow client',
);
assert(
  LIMITS.drainTimeoutMsMax < 2 ** 31,
  'the drain timeout fits a timer, which takes a signed 32-bit count of milliseconds',
);
