import { pino } from 'pino';

import type { Clock } from '../lib/clock.js';
import type { LogFields, Logger } from '../lib/logger.js';
import { LogOutput } from './log-output.js';

/** Lines are gathered for at most this long, in milliseconds, so that one write takes many. */
const FLUSH_MS = 20;

/** A log whose last lines can be forced out before the process ends. */
export interface DaemonLog extends Logger {
  flush(): void;
}

/**
 * JSON lines. Warnings and errors are written before the call returns, the rest a moment
 * later, in the same order: a grant and a release a lease are many.
 *
 * @param fd where they go: standard error by default.
 */
export function openLog(level: string, clock: Clock, fd = 2): DaemonLog {
  const output = new LogOutput(fd);
  const lines = pino(
    {
      level,
      base: null,
      timestamp: isoTimes(clock),
      formatters: { level: (label) => ({ level: label }) },
    },
    output,
  );
  let isDue = false;
  const flush = (): void => {
    isDue = false;
    output.flush();
  };
  const soon = (name: 'debug' | 'info') => (fields: LogFields, message: string) => {
    lines[name](fields, message);
    if (isDue) return;
    isDue = true;
    clock.setTimer(flush, FLUSH_MS);
  };
  const now = (name: 'warn' | 'error') => (fields: LogFields, message: string) => {
    lines[name](fields, message);
    flush();
  };
  return {
    debug: soon('debug'),
    info: soon('info'),
    warn: now('warn'),
    error: now('error'),
    flush,
  };
}

/** The time as pino takes it; made once a millisecond, for lines come several at a time. */
function isoTimes(clock: Clock): () => string {
  let lastMs = NaN;
  let text = '';
  return () => {
    const nowMs = Math.floor(clock.wallMs());
    if (nowMs !== lastMs) {
      lastMs = nowMs;
      // oxlint-disable-next-line no-restricted-globals -- formats the time it is given, reads no clock
      text = `,"time":"${new Date(nowMs).toISOString()}"`;
    }
    return text;
  };
}
