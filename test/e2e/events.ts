import { spawn } from 'node:child_process';
import { once } from 'node:events';

import type { Test } from 'tap';

import { systemClock } from '../../src/lib/clock.js';
import { CURL_ALONE, until } from './daxd.js';

/** One event as curl got it. */
interface Seen {
  readonly id: string;
  readonly event: string;
  readonly data: ReturnType<typeof JSON.parse>;
}

/** A curl that watches events. */
export interface Watch {
  /** Everything so far. */
  readonly seen: () => readonly Seen[];
  /** Settles with the first event of that name, and of that lease where one is given. */
  readonly first: (event: string, lease?: string) => Promise<Seen>;
  /** Settles with curl's exit code when the stream ended: 18 where it was cut short. */
  readonly ended: Promise<number | null>;
  readonly stop: () => void;
}

/** How long an event may take to come, in milliseconds. */
const PATIENCE_MS = 10_000;

/** Watches `/v1/events`, the query and curl's arguments as given, once the stream is open. */
export async function watchEvents(
  t: Test,
  url: string,
  query = '',
  args: readonly string[] = [],
): Promise<Watch> {
  const how = [...CURL_ALONE, '-sN', '--max-time', '60', ...args];
  const child = spawn('curl', [...how, `${url}/v1/events${query}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
  const ended = once(child, 'close').then(([code]: (number | null)[]) => code ?? null);
  t.teardown(() => child.kill('SIGKILL'));
  const seen = (): Seen[] => text.split('\n\n').flatMap(parse);
  // The first thing sent is the place in the stream.
  await Promise.race([once(child.stdout, 'data'), ended]);
  const first = async (event: string, lease?: string): Promise<Seen> => {
    const isIt = (one: Seen): boolean =>
      one.event === event && (lease === undefined || one.data.lease === lease);
    const giveUpMs = systemClock.nowMs() + PATIENCE_MS;
    const found = await until(
      async () => {
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
        return seen().find(isIt);
      },
      (one) => one !== undefined || systemClock.nowMs() > giveUpMs,
    );
    if (found !== undefined) return found;
    throw new Error(`no ${event} came, but ${text}`);
  };
  return { seen, first, ended, stop: () => child.kill('SIGTERM') };
}

function parse(block: string): Seen[] {
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1];
  const [id, event, data] = ['id', 'event', 'data'].map(field);
  if (id === undefined || event === undefined || data === undefined) return [];
  return [{ id, event, data: JSON.parse(data) }];
}
