import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { systemClock } from '../../../src/lib/clock.js';

/** How long a process may stay at one image: a second, and what a machine under load adds. */
const HANG_MS = 20_000;

/** Images `[first, end)` of a seed; image i is made of base i modulo their number. */
export interface ImageRun {
  /** Files of intact images. */
  readonly bases: readonly string[];
  readonly seed: number;
  readonly first: number;
  readonly end: number;
}

/** What the images brought about. */
export interface ImageReport {
  /** Images that ran to their end. */
  images: number;
  /** Each with what makes it again. */
  readonly defects: string[];
  /** How often which code came out of a call, `ok` among them. */
  readonly codes: Map<string, number>;
}

/** A line of the child. */
interface Line {
  readonly index?: number;
  readonly mutation?: readonly string[];
  readonly defects?: readonly string[];
  readonly codes?: Readonly<Record<string, number>>;
}

/** Defects enough to look at. */
const DEFECTS_MAX = 20;

/**
 * Works through images in a process of their own. One that hangs or dies counts as a defect
 * of the image that it was at, and another process goes on behind that image.
 */
export async function runImages(run: ImageRun): Promise<ImageReport> {
  const report: ImageReport = { images: 0, defects: [], codes: new Map() };
  let { first } = run;
  while (first < run.end && report.defects.length < DEFECTS_MAX) {
    first = (await runChild({ ...run, first }, report)) + 1;
  }
  return report;
}

/** Gives the last index that the process came to. */
async function runChild(run: ImageRun, report: ImageReport): Promise<number> {
  const { bases, seed, first, end } = run;
  const script = fileURLToPath(new URL('hostile-child.ts', import.meta.url));
  const args = [bases.join(), seed, first, end].map(String);
  const options = [...process.execArgv, '--max-old-space-size=256'];
  const child = spawn(process.execPath, [...options, script, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let last = first - 1;
  let doing = '';
  let isDone = false;
  let complaint = '';
  const note = (what: string): void => {
    report.defects.push(`seed ${seed}, image ${last} (${doing}): ${what}`);
  };
  const hang = (): void => {
    note(`hangs for ${HANG_MS} ms`);
    child.kill('SIGKILL');
  };
  // The first image waits for the loaders.
  let cancelHang = systemClock.setTimer(hang, 6 * HANG_MS);
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = `${complaint}${text}`.slice(0, 2000);
  });
  createInterface({ input: child.stdout }).on('line', (text) => {
    cancelHang();
    cancelHang = systemClock.setTimer(hang, HANG_MS);
    const line = JSON.parse(text) as Line;
    if (line.defects) for (const defect of line.defects) note(defect);
    else if (line.codes) {
      isDone = true;
      for (const [code, n] of Object.entries(line.codes)) {
        report.codes.set(code, (report.codes.get(code) ?? 0) + n);
      }
    } else {
      last = line.index ?? last;
      doing = (line.mutation ?? []).join('; ');
      report.images++;
    }
  });
  const [status, signal] = await new Promise<[number | null, string | null]>((resolve) => {
    child.on('close', (code, name) => {
      resolve([code, name]);
    });
  });
  cancelHang();
  if (isDone) return end;
  note(`the process ended by ${status ?? signal}: ${complaint}`);
  return last;
}
