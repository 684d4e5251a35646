import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';

import type { Test } from 'tap';

import type { Partition } from '../../src/http/schemas/partition.js';
import { systemClock } from '../../src/lib/clock.js';

/** The program, for whoever runs it in a way of its own. */
export const BIN = fileURLToPath(new URL('../../bin/daxd.js', import.meta.url));

/** How long {@link until} asks, in milliseconds. */
const PATIENCE_MS = 60_000;
/** How much of the last answer it tells: some are traces of a process. */
const SHORT = { maxStringLength: 1000, breakLength: Infinity };

/** A daemon that a test runs as its users do. */
export interface Daxd {
  readonly url: string;
  readonly child: ChildProcess;
  /** All lines on standard output and standard error so far. */
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
  /** Sends a signal and gives the exit code; null when the signal itself ended it. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  /** Settles with the exit code. */
  readonly exited: Promise<number | null>;
}

/** What `daxd serve` did that ended before it was ready. */
export interface FailedStart {
  readonly exit: number | null;
  readonly stderr: string;
}

/**
 * Starts a daemon on a free port and waits until it is ready.
 *
 * @param program what to start in place of the product: one changed, or one under a tracer.
 */
export async function startDaxd(
  t: Test,
  args: readonly string[],
  cwd?: string,
  program: readonly [string, ...string[]] = [process.execPath, BIN],
): Promise<Daxd> {
  const [command, ...before] = program;
  const child = spawn(command, [...before, '--listen', '127.0.0.1:0', ...args], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stdout: string[] = [];
  const stderr: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => stderr.push(line));
  const lines = createInterface({ input: child.stdout }).on('line', (line) => stdout.push(line));
  const exited = once(child, 'close').then(([code]: (number | null)[]) => code ?? null);
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await exited;
  });

  await Promise.race([once(lines, 'line'), exited]);
  const url = /^daxd ready \S+ (https?:\S+)/.exec(stdout[0] ?? '')?.[1];
  if (url === undefined)
    throw new Error(`daxd is not ready: ${stdout.join()} ${stderr.join('\n')}`);
  return {
    url,
    child,
    stdout,
    stderr,
    exited,
    stop(signal = 'SIGTERM') {
      child.kill(signal);
      return exited;
    },
  };
}

/** Runs a daemon that is expected to refuse its work. */
export function startRefused(args: readonly string[], cwd?: string): FailedStart {
  const { status, stderr } = spawnSync(
    process.execPath,
    [BIN, '--listen', '127.0.0.1:0', ...args],
    {
      cwd,
      encoding: 'utf8',
      timeout: 20_000,
    },
  );
  return { exit: status, stderr };
}

/**
 * Runs another verb of the program.
 *
 * @param env variables beside those of the test.
 */
export function runVerb(
  url: string,
  args: readonly string[],
  input?: string,
  env: Readonly<Record<string, string>> = {},
): { readonly exit: number | null; readonly stdout: string; readonly stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [BIN, ...args], {
    encoding: 'utf8',
    env: { ...process.env, DAXD_URL: url, ...env },
    input: input ?? '',
    timeout: 20_000,
  });
  return { exit: status, stdout, stderr };
}

/** What curl got. */
export interface CurlAnswer {
  readonly status: number;
  readonly body: string;
  /** The body where it is JSON. */
  readonly json: ReturnType<typeof JSON.parse>;
}

/** Has curl read no file of its user's, and ask no proxy; the first of its arguments. */
export const CURL_ALONE = ['-q', '--noproxy', '*'] as const;

/** A curl under way. */
export interface Curl {
  readonly child: ChildProcess;
  readonly answer: Promise<CurlAnswer>;
}

/** Starts curl; the arguments go as they are. */
export function startCurl(args: readonly string[]): Curl {
  const how = [...CURL_ALONE, '-s', '--path-as-is', '-w', '\n%{http_code}'];
  const child = spawn('curl', [...how, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  const answer = once(child, 'close').then(() => {
    const text = Buffer.concat(chunks).toString('utf8');
    const end = text.lastIndexOf('\n');
    const body = text.slice(0, end);
    const json = /^[[{]/.test(body) ? JSON.parse(body) : undefined;
    return { status: Number(text.slice(end + 1)), body, json };
  });
  return { child, answer };
}

/** Runs curl to its end. */
export async function curl(...args: string[]): Promise<CurlAnswer> {
  return startCurl(args).answer;
}

/** The arguments of curl for a POST of JSON. */
export function post(url: string, json: object = {}): string[] {
  return ['-X', 'POST', '-H', 'content-type: application/json', '-d', JSON.stringify(json), url];
}

/**
 * Asks again, with a pause between two tries, until `ready` holds.
 *
 * @throws after a minute, with the last answer.
 */
export async function until<T>(ask: () => Promise<T>, ready: (answer: T) => boolean): Promise<T> {
  const giveUpMs = systemClock.nowMs() + PATIENCE_MS;
  for (;;) {
    const answer = await ask();
    if (ready(answer)) return answer;
    if (systemClock.nowMs() > giveUpMs) {
      throw new Error(`after ${PATIENCE_MS} ms it is still ${inspect(answer, SHORT)}`);
    }
    await setTimeout(20);
  }
}

/** Value of one series on the metrics page. */
export async function metric(url: string, series: string): Promise<number | undefined> {
  const { body } = await curl(`${url}/metrics`);
  const line = body.split('\n').find((text) => text.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

/** Where a partition lies in the backing, in bytes. */
export async function partitionOffset(url: string, name: string): Promise<[number, number]> {
  const device = (await curl(`${url}/v1/device`)).json;
  const partitions: Partition[] = (await curl(`${url}/v1/partitions`)).json;
  const partition = partitions.find((one) => one.name === name);
  if (partition === undefined) throw new Error(`there is no partition ${name}`);
  return [device.namespace.data_offset + partition.start, partition.size];
}

/** Begins a call whose body does not end; settles when the daemon waits for the body. */
export async function beginUpload(url: string, method = 'PUT', type = 'text/plain'): Promise<void> {
  const headers = { expect: '100-continue', 'content-length': 1000, 'content-type': type };
  const upload = request(url, { method, headers });
  upload.on('error', () => {});
  upload.flushHeaders();
  await once(upload, 'continue');
  upload.write('a body that does not end');
}

/** Settles when a daemon that was told to end says that it drains. */
export async function whenDraining({ stderr }: Daxd): Promise<void> {
  for (let tries = 0; tries < 1_000; tries++) {
    if (stderr.some((line) => line.includes('draining'))) return;
    await setTimeout(20);
  }
  throw new Error('it does not drain');
}
