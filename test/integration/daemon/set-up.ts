import type { Test } from 'tap';

import { loadServeConfig } from '../../../src/config/load.js';
import { Daemon } from '../../../src/daemon/daemon.js';
import type { Closed } from '../../../src/daemon/daemon.js';
import { systemClock } from '../../../src/lib/clock.js';
import type { Clock } from '../../../src/lib/clock.js';
import { silentLogger } from '../../../src/lib/logger.js';

/** What a call was answered; the body is parsed where it is JSON. */
interface Answer {
  readonly status: number;
  readonly body: ReturnType<typeof JSON.parse>;
}

/** A daemon in this process, and ways to call it. */
export interface OpenDaemon {
  readonly close: () => Promise<Closed>;
  readonly get: (path: string) => Promise<Answer>;
  readonly post: (path: string, json?: object) => Promise<Answer>;
  readonly patch: (path: string, json: object) => Promise<Answer>;
  readonly putJson: (path: string, json: object) => Promise<Answer>;
  readonly remove: (path: string) => Promise<Answer>;
  readonly put: (path: string, text: string) => Promise<Response>;
}

/** Opens a daemon on a free port; the test's end closes it. */
export async function openDaemon(
  t: Test,
  options: Record<string, unknown>,
  clock: Clock = systemClock,
): Promise<OpenDaemon> {
  const daemon = await Daemon.open({
    config: loadServeConfig({ listen: ['127.0.0.1:0'], ...options }),
    version: '0',
    log: silentLogger,
    clock,
    onFatal: (error) => t.fail(error.message),
  });
  let isOpen = true;
  const close = async (): Promise<Closed> => {
    isOpen = false;
    return daemon.close();
  };
  t.teardown(async () => {
    if (isOpen) await close();
  });
  const call = async (method: string, path: string, json?: object): Promise<Answer> => {
    const answer = await fetch(`${daemon.urls[0]}${path}`, {
      method,
      ...(json !== undefined && {
        body: JSON.stringify(json),
        headers: { 'content-type': 'application/json' },
      }),
    });
    const text = await answer.text();
    return { status: answer.status, body: /^[[{]/.test(text) ? JSON.parse(text) : text };
  };
  return {
    close,
    get: (path: string) => call('GET', path),
    post: (path: string, json: object = {}) => call('POST', path, json),
    patch: (path: string, json: object) => call('PATCH', path, json),
    putJson: (path: string, json: object) => call('PUT', path, json),
    remove: (path: string) => call('DELETE', path),
    put: (path: string, text: string) =>
      fetch(`${daemon.urls[0]}${path}`, { method: 'PUT', body: text }),
  };
}
