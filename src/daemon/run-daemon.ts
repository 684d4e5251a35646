import type { ServeConfig } from '../config/load.js';
import type { LeaseView } from '../lease/lease.js';
import { systemClock } from '../lib/clock.js';
import { counted } from '../lib/counted.js';
import { Daemon } from './daemon.js';
import type { DaemonOptions } from './parts.js';
import { openLog } from './log.js';
import type { DaemonLog } from './log.js';

/** What the process is to the daemon. */
export interface ProcessPorts {
  readonly version: string;
  /** Prints one line on standard output. */
  readonly print: (line: string) => void;
  /** Ends the process at once. */
  readonly exit: (code: number) => never;
}

/** The exit of a daemon that found a defect of its own, was told twice to end, or did not end whole. */
const EXIT_FAILED = 1;

/**
 * Runs a daemon until a signal ends it.
 *
 * @returns the exit code: 0 when all was given back, 1 when leases were still held, or not all could
 *   be unmounted or closed.
 * @throws DaxdError when it cannot start.
 */
export async function runDaemon(config: ServeConfig, ports: ProcessPorts): Promise<number> {
  const log = openLog(config.logLevel, systemClock);
  const onFatal = (error: unknown): void => {
    log.error({ err: error }, 'a defect of daxd: it stops at once, and stores nothing more');
    ports.exit(EXIT_FAILED);
  };
  process.on('uncaughtException', onFatal);
  process.on('unhandledRejection', onFatal);

  ignoreSignals();
  const asked = firstSignal(ports);
  const { version } = ports;
  const daemon = await openDaemon({ config, version, log, clock: systemClock, onFatal });
  ports.print(`daxd ready ${daemon.deviceName} ${daemon.urls.join(' ')}`);

  log.info({ signal: await asked.signal }, 'asked to end');
  // Its timers let the process end; what is left to wait for is on the network.
  const { held, isInOrder } = await daemon.close();
  log.flush();
  for (const lease of held) ports.print(heldLine(lease));
  return isInOrder && held.length === 0 ? 0 : EXIT_FAILED;
}

/** What was logged before a start failed comes before what is said about the failure. */
async function openDaemon(options: DaemonOptions & { readonly log: DaemonLog }): Promise<Daemon> {
  try {
    return await Daemon.open(options);
  } finally {
    options.log.flush();
  }
}

function heldLine({ id, partition, path, pages, client, pid }: LeaseView): string {
  const place = path === undefined ? partition : `${partition} ${path}`;
  const holder = [client, pid === undefined ? undefined : `pid ${pid}`].filter(Boolean).join(', ');
  return `still held: ${place}, ${counted(pages, 'page')}, lease ${id}, holder ${holder === '' ? 'not named' : holder}`;
}

/**
 * At SIGUSR1 Node would open its debugger, a port of loopback that asks nobody who they are; SIGUSR2
 * would end the process with all still mounted.
 */
function ignoreSignals(): void {
  for (const name of ['SIGUSR1', 'SIGUSR2'] as const) process.on(name, () => {});
}

/** Settles with the first signal that asks for an end; the next one ends the process at once. */
function firstSignal({ exit }: ProcessPorts): { readonly signal: Promise<string> } {
  let isAsked = false;
  const signal = new Promise<string>((resolve) => {
    // SIGHUP comes when the terminal that daxd was started from is closed.
    for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      process.on(name, () => {
        if (isAsked) exit(EXIT_FAILED);
        isAsked = true;
        resolve(name);
      });
    }
  });
  return { signal };
}
