import type { Clock } from '../lib/clock.js';
import type { LogFields, Logger } from '../lib/logger.js';
import { LogOutput } from './log-output.js';

/** Lines are gathered for at most this long, in milliseconds, so that one write takes many. */
const FLUSH_MS = 20;

const LEVELS = ['debug', 'info', 'warn', 'error'] as const;

/** A level of {@link LEVELS}, from which on lines are written, or none of them. */
export type LogLevel = (typeof LEVELS)[number] | 'silent';

/** A log whose last lines can be forced out before the process ends. */
export interface DaemonLog extends Logger {
  flush(): void;
}

/**
 * JSON lines: `level`, `time`, what the call gave, `msg`. Warnings and errors are written before
 * the call returns, the rest a moment later, in the same order: a grant and a release a lease
 * are many.
 *
 * @param fd where they go: standard error by default. Who closes it calls `flush` before, or the last
 *   lines go to the file that gets its number next.
 */
export function openLog(level: LogLevel, clock: Clock, fd = 2): DaemonLog {
  const output = new LogOutput(fd);
  const time = isoTimes(clock);
  const least = level === 'silent' ? LEVELS.length : LEVELS.indexOf(level);
  let isDue = false;
  const flush = (): void => {
    isDue = false;
    output.flush();
  };
  const flushSoon = (): void => {
    if (isDue) return;
    isDue = true;
    clock.setTimer(flush, FLUSH_MS);
  };
  const at = (name: (typeof LEVELS)[number], written: () => void): Logger['info'] => {
    if (LEVELS.indexOf(name) < least) return () => {};
    const head = `{"level":"${name}","time":"`;
    return (fields, message) => {
      output.write(`${head}${time()}"${membersOf(fields)},"msg":${jsonOf(message)}}\n`);
      written();
    };
  };
  return {
    debug: at('debug', flushSoon),
    info: at('info', flushSoon),
    warn: at('warn', flush),
    error: at('error', flush),
    flush,
  };
}

/** The members of a JSON object, each with a comma in front. Field names are plain words. */
function membersOf(fields: LogFields): string {
  let members = '';
  for (const name in fields) {
    const value = fields[name];
    if (value !== undefined) members += `,"${name}":${jsonOf(value)}`;
  }
  return members;
}

/** Text that JSON has as it is: on a line most is, and looking costs less than JSON.stringify. */
const PLAIN = /^[ !#-[\]-~]*$/;

function jsonOf(value: unknown): string {
  if (typeof value === 'string' && PLAIN.test(value)) return `"${value}"`;
  if (typeof value === 'number' && Number.isFinite(value)) return String(value);
  return JSON.stringify(value, errorsAsObjects);
}

/** What JSON would leave out of an error: nearly all of it. */
function errorsAsObjects(_key: string, value: unknown): unknown {
  if (!(value instanceof Error)) return value;
  const { name: type, message, stack, cause } = value;
  const code = 'code' in value ? value.code : undefined;
  const errors: unknown = value instanceof AggregateError ? value.errors : undefined;
  return { type, code, message, stack, cause, errors };
}

/** The time as text, of which only the milliseconds are made anew within a second. */
function isoTimes(clock: Clock): () => string {
  let lastSecond = NaN;
  let text = '';
  return () => {
    const nowMs = Math.floor(clock.wallMs());
    const second = Math.floor(nowMs / 1000);
    if (second !== lastSecond) {
      lastSecond = second;
      // oxlint-disable-next-line no-restricted-globals -- formats the time it is given, reads no clock
      text = new Date(nowMs).toISOString().slice(0, -'000Z'.length);
    }
    return `${text}${String(nowMs % 1000).padStart(3, '0')}Z`;
  };
}
