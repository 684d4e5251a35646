import { PAGE_SIZE, SECTOR_SIZE } from '../lib/units.js';
import { UsageRef } from '../lib/usage-ref.js';

/** What a queue says about its disk; sizes in bytes. */
export interface QueueLimits {
  readonly logicalBlockSize: typeof SECTOR_SIZE;
  readonly physicalBlockSize: typeof PAGE_SIZE;
  readonly rotational: false;
  /** Stores need a persist to become durable. */
  readonly writeCache: boolean;
  /** Whether direct access may be offered: only where pages exist. */
  readonly dax: boolean;
}

/**
 * The gate in front of one disk: block I/O in flight and page pins hold the same counter,
 * so one drain waits for both.
 *
 *     live --freezeStart--> no new use --last use ends--> cleanup settles
 *
 * @kernel struct request_queue (linux/blkdev.h)
 */
export class RequestQueue {
  /** Shared with the pagemap of the device as its `ref`. @kernel q_usage_counter */
  readonly usageCounter = new UsageRef();
  #limits: QueueLimits | undefined;

  /** Undefined until the driver has set them. */
  get limits(): QueueLimits | undefined {
    return this.#limits;
  }

  /** @kernel blk_queue_write_cache, blk_queue_physical_block_size, blk_queue_flag_set */
  setLimits(limits: QueueLimits): void {
    this.#limits = limits;
  }

  /** Refuses new uses from now on; waits for nothing. @kernel blk_freeze_queue_start (block/blk-mq.c) */
  freezeStart(): void {
    this.usageCounter.kill();
  }

  /** Refuses new uses and waits for the last one. @kernel blk_cleanup_queue (block/blk-core.c) */
  async cleanup(): Promise<void> {
    this.usageCounter.kill();
    await this.usageCounter.whenZero();
  }
}
