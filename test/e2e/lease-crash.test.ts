/**
 * kill -9 at random moments under 64 clients that lease, release and truncate: what was
 * acknowledged is so after the restart, and every lease has its pins.
 */
import { once } from 'node:events';
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { PAGE_SIZE } from '../../src/lib/units.js';
import { SeededRandom } from '../integration/fs/ext4/seeded-random.js';
import { fsck, scratchDirectory } from '../support/ext4-image.js';
import { testSeed, times } from '../support/random-test.js';
import { requires } from '../support/requires.js';
import { partitionOffset, startDaxd } from './daxd.js';
import type { Daxd } from './daxd.js';

const ROUNDS = times(5, 300);
const CLIENTS = 64;
const FILES = 8;
const FILE_PAGES = 32;
/** Of a round, in milliseconds: the kill comes somewhere in between. */
const RUN_MS_MIN = 50;
const RUN_MS_MAX = 700;

interface Known {
  readonly extents: readonly Extent[];
  /** A release was sent: whether it is there is not known until that is answered. */
  leaving: boolean;
}

interface Extent {
  readonly file_offset: number;
  readonly device_offset: number;
  readonly length: number;
}

/** What all clients together were told. */
class Ledger {
  readonly held = new Map<string, Known>();
  readonly gone = new Set<string>();
  /** Sizes that a file of its own may have, the one acknowledged last first, by client; at first 0. */
  readonly sizes = new Map<number, number[]>();
  answers = 0;
}

class Client {
  readonly #number: number;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #random: SeededRandom;
  readonly #ledger: Ledger;
  readonly #mine: string[] = [];

  constructor(number: number, random: SeededRandom, ledger: Ledger) {
    this.#number = number;
    this.#random = random;
    this.#ledger = ledger;
  }

  /** Calls until the daemon is gone. */
  async run(url: string): Promise<void> {
    try {
      for (;;) await this.#step(url);
    } catch (error) {
      if (!(error instanceof Error) || !('code' in error)) throw error;
    } finally {
      this.#agent.destroy();
    }
  }

  async #step(url: string): Promise<void> {
    const kind = this.#random.below(10);
    if (kind < 5) await this.#acquire(url);
    else if (kind < 9) await this.#release(url);
    else await this.#truncate(url);
    this.#ledger.answers++;
  }

  async #acquire(url: string): Promise<void> {
    const page = this.#random.below(FILE_PAGES);
    const { status, json } = await this.#call(`${url}/v1/leases`, 'POST', {
      partition: 'pmem0p1',
      path: `shared-${this.#random.below(FILES)}`,
      offset: page * PAGE_SIZE,
      length: (1 + this.#random.below(FILE_PAGES - page)) * PAGE_SIZE,
      access: 'read',
      ttl_ms: 600_000,
    });
    if (status !== 201) throw new TypeError(JSON.stringify(json));
    this.#ledger.held.set(json.id, { extents: json.extents, leaving: false });
    this.#mine.push(json.id);
  }

  async #release(url: string): Promise<void> {
    const id = this.#mine.splice(this.#random.below(this.#mine.length), 1)[0];
    if (id === undefined) return;
    const known = this.#ledger.held.get(id);
    if (known !== undefined) known.leaving = true;
    const { status } = await this.#call(`${url}/v1/leases/${id}`, 'DELETE');
    if (status !== 204) throw new TypeError(`release: ${status}`);
    this.#ledger.held.delete(id);
    this.#ledger.gone.add(id);
  }

  async #truncate(url: string): Promise<void> {
    const size = this.#random.below(20_000);
    const sizes = this.#ledger.sizes.get(this.#number) ?? [0];
    this.#ledger.sizes.set(this.#number, [...sizes, size]);
    const body = { path: `own-${this.#number}`, size };
    const truncate = `${url}/v1/partitions/pmem0p1/truncate`;
    const { status, json } = await this.#call(truncate, 'POST', body);
    if (status !== 200) throw new TypeError(JSON.stringify(json));
    this.#ledger.sizes.set(this.#number, [size]);
  }

  async #call(url: string, method: string, body?: object) {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const asked = request(url, { agent: this.#agent, method, headers });
    asked.end(body === undefined ? '' : JSON.stringify(body));
    const [response] = await once(asked, 'response');
    let text = '';
    for await (const chunk of response) text += String(chunk);
    return { status: response.statusCode, json: text === '' ? undefined : JSON.parse(text) };
  }
}

async function getJson(url: string) {
  const response = await fetch(url);
  return response.json();
}

/** All leases that a daemon has, by id. */
async function leasesOf({ url }: Daxd): Promise<Map<string, readonly Extent[]>> {
  const found = new Map<string, readonly Extent[]>();
  let next = '';
  do {
    const page = (await getJson(`${url}/v1/leases?limit=1000${next}`)) as {
      leases: { id: string; extents: Extent[]; state: string }[];
      next_cursor?: string;
    };
    for (const { id, extents } of page.leases) found.set(id, extents);
    next = page.next_cursor === undefined ? '' : `&cursor=${page.next_cursor}`;
  } while (next !== '');
  return found;
}

/** Distinct pages under leases. */
function pagesUnder(leases: Iterable<readonly Extent[]>): number {
  const pages = new Set<number>();
  for (const extents of leases) {
    for (const { device_offset: from, length } of extents) {
      for (let at = from; at < from + length; at += PAGE_SIZE) pages.add(at);
    }
  }
  return pages.size;
}

async function makeFiles({ url }: Daxd): Promise<void> {
  const names = [
    ...Array.from({ length: FILES }, (_, i) => `shared-${i}`),
    ...Array.from({ length: CLIENTS }, (_, i) => `own-${i}`),
  ];
  for (const name of names) {
    const body = Buffer.alloc(name.startsWith('own') ? 0 : FILE_PAGES * PAGE_SIZE, 1);
    const path = `${url}/v1/partitions/pmem0p1/files/${name}`;
    const { status } = await fetch(path, { method: 'PUT', body });
    if (status !== 201) throw new Error(`${name}: ${status}`);
  }
}

function judge(t: Test, image: string, [offset, length]: [number, number], to: string): void {
  const bytes = Buffer.alloc(length);
  const fd = openSync(image, 'r');
  readSync(fd, bytes, 0, length, offset);
  closeSync(fd);
  writeFileSync(to, bytes);
  const { status, output } = fsck(to);
  if (status !== 0) t.fail(output);
}

/** Compares what a daemon has after its restart with what clients were told; sorts out the rest. */
async function check(t: Test, daxd: Daxd, ledger: Ledger): Promise<void> {
  const found = await leasesOf(daxd);
  for (const [id, { extents, leaving }] of ledger.held) {
    const now = found.get(id);
    if (now === undefined && !leaving) t.fail(`lease ${id} was granted, and is forgotten`);
    else if (now !== undefined) t.same(now, extents);
    if (now === undefined) ledger.held.delete(id);
  }
  for (const id of ledger.gone) if (found.has(id)) t.fail(`lease ${id} was released, and is back`);
  const device = (await getJson(`${daxd.url}/v1/device`)) as { pagemap: { pinned_pages: number } };
  t.equal(
    device.pagemap.pinned_pages,
    pagesUnder(found.values()),
    'the pins are those of the leases',
  );
  for (const [client, sizes] of ledger.sizes) {
    const stat = (await getJson(`${daxd.url}/v1/partitions/pmem0p1/stat/own-${client}`)) as {
      size: number;
    };
    if (!sizes.includes(stat.size))
      t.fail(`own-${client} has ${stat.size} bytes, not ${sizes.join()}`);
    ledger.sizes.set(client, [stat.size]);
  }
  // What was granted and never answered has nobody to release it.
  for (const id of found.keys()) {
    if (ledger.held.has(id)) continue;
    await fetch(`${daxd.url}/v1/leases/${id}`, { method: 'DELETE' });
  }
}

t.test('kill -9 under 64 clients: nothing that was acknowledged is lost', async (t) => {
  if (!requires(t, { commands: ['e2fsck'] })) return;
  const random = new SeededRandom(testSeed(t));
  const directory = scratchDirectory(t);
  const image = join(directory, 'pmem0.img');
  let daxd = await startDaxd(t, ['--backing', image, '--size', '64M', '--init']);
  await makeFiles(daxd);
  const place = await partitionOffset(daxd.url, 'pmem0p1');
  const ledger = new Ledger();
  for (let round = 0; round < ROUNDS; round++) {
    const { url } = daxd;
    const clients = Array.from({ length: CLIENTS }, (_, number) =>
      new Client(number, new SeededRandom(random.below(2 ** 31)), ledger).run(url),
    );
    await setTimeout(RUN_MS_MIN + random.below(RUN_MS_MAX - RUN_MS_MIN));
    await daxd.stop('SIGKILL');
    await Promise.all(clients);
    daxd = await startDaxd(t, ['--backing', image]);
    await check(t, daxd, ledger);
    await daxd.stop('SIGTERM');
    judge(t, image, place, join(directory, 'p1.img'));
    daxd = await startDaxd(t, ['--backing', image]);
  }
  t.ok(ledger.answers > 20 * ROUNDS, `${ledger.answers} answers, ${ledger.gone.size} releases`);
  t.equal(await daxd.stop(), 0);
});
