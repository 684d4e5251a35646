import { silentLogger } from '../../../src/lib/logger.js';
import type { Logger } from '../../../src/lib/logger.js';

/** A log that keeps what it is warned of, and nothing else. */
interface Warnings {
  readonly log: Logger;
  readonly messages: string[];
}

/** A log without warnings yet. */
export function warnings(): Warnings {
  const messages: string[] = [];
  return { messages, log: { ...silentLogger, warn: (_, message) => void messages.push(message) } };
}
