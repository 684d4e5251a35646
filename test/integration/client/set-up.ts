import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';

import type { Test } from 'tap';

import { listenOnLoopback } from '../../support/serve-http.js';

/** One call that a daemon of toys was sent. */
interface ToyCall {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
  readonly json: ReturnType<typeof JSON.parse>;
}

/** A daemon that answers as a test wants, on a port of its own. */
export interface ToyDaemon {
  readonly url: string;
  readonly calls: readonly ToyCall[];
  /** How it answers a renewal; null: the connection is cut. */
  renew: { status: number; body: object } | null;
  /** How it answers a release of ranges; null: the connection is cut. */
  release: () => { status: number; body: object } | null;
  /** The status with which it answers the release of a whole lease. */
  remove: number;
  /** How it answers the next requests for a lease, before it grants one; null: the connection is cut. */
  readonly grants: ({ status: number; body: object } | null)[];
  /** Members of the lease beside the usual. */
  lease: object;
  /** Sends an event to whoever watches. */
  readonly send: (name: string, fields: object, id?: string) => void;
  /** Ends every stream of events. */
  readonly cut: () => void;
  readonly watchers: () => number;
}

/** A lease of a page for a second, as the toy grants it. */
export const TOY_LEASE = {
  id: 'L1',
  state: 'active',
  partition: 'p1',
  path: 'a',
  offset: 0,
  length: 4096,
  access: 'read',
  ttl_ms: 1_000,
  remaining_ttl_ms: 1_000,
  ranges: [{ offset: 0, length: 4096 }],
  backing_path: '/nowhere/pmem0.img',
  extents: [{ file_offset: 0, device_offset: 0, length: 4096 }],
};

function answer(response: ServerResponse, status: number, body?: object): void {
  response.writeHead(status).end(body === undefined ? '' : JSON.stringify(body));
}

/** Starts one; the test's end stops it. */
export async function toyDaemon(t: Test): Promise<ToyDaemon> {
  const calls: ToyCall[] = [];
  const streams = new Set<ServerResponse>();
  const server = createServer((request, response) => {
    void serve(request, response);
  });
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method = '', url: path = '', headers } = request;
    const body = await text(request);
    calls.push({ method, path, headers, json: body === '' ? undefined : JSON.parse(body) });
    if (path.startsWith('/v1/events')) {
      response.writeHead(200).write('id: toy-0\n\n');
      streams.add(response);
      response.on('close', () => streams.delete(response));
    } else if (path === '/v1/operations') answer(response, 200, { operations: [] });
    else if (method === 'DELETE') answer(response, toy.remove);
    else {
      const next = nextAnswer(path);
      if (next === null) response.destroy();
      else answer(response, next.status, next.body);
    }
  };
  const nextAnswer = (path: string): { status: number; body: object } | null => {
    if (path === '/v1/leases') {
      const granted = { status: 201, body: { ...TOY_LEASE, ...toy.lease } };
      return toy.grants.length === 0 ? granted : (toy.grants.shift() ?? null);
    }
    return path.endsWith('/release') ? toy.release() : toy.renew;
  };
  const port = await listenOnLoopback(t, server);
  const toy: ToyDaemon = {
    url: `http://127.0.0.1:${port}`,
    calls,
    renew: { status: 200, body: TOY_LEASE },
    release: () => ({ status: 200, body: TOY_LEASE }),
    remove: 204,
    grants: [],
    lease: {},
    send(name, fields, id = 'toy-1') {
      for (const stream of streams) {
        stream.write(`id: ${id}\nevent: ${name}\ndata: ${JSON.stringify(fields)}\n\n`);
      }
    },
    cut() {
      for (const stream of streams) stream.end();
    },
    watchers: () => streams.size,
  };
  return toy;
}
