/**
 * kill -9 at random moments under 64 clients that lease, release in whole and in part, and
 * truncate files under leases: what was acknowledged is so after the restart, and every lease has
 * its pins.
 */
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { PAGE_SIZE } from '../../src/lib/units.js';
import { fsck } from '../support/ext4-image.js';
import { extract } from '../support/extract.js';
import { testSeed, times } from '../support/random-test.js';
import { requires } from '../support/requires.js';
import { scratchDirectory } from '../support/scratch-directory.js';
import { SeededRandom } from '../support/seeded-random.js';
import { CrashLedger, pagesUnder } from './crash-ledger.js';
import type { Extent } from './crash-ledger.js';
import { partitionOffset, startDaxd, until } from './daxd.js';
import type { Daxd } from './daxd.js';

const ROUNDS = times(5, 300);
const CLIENTS = 64;
const FILES = 8;
const FILE_PAGES = 32;
/** Answers of a round before the kill, and how long after them it may come, in milliseconds. */
const ANSWERS_MIN = 40;
const KILL_MS_MAX = 650;

/** What a change may do about the leases in its way; to wait for them without end would stop the client. */
const TERMS = [{ on_conflict: 'fail' }, { on_conflict: 'defer' }, { deadline_ms: 20 }] as const;

class Client {
  readonly #number: number;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #random: SeededRandom;
  readonly #ledger: CrashLedger;
  readonly #mine: string[] = [];

  constructor(number: number, random: SeededRandom, ledger: CrashLedger) {
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
    const kind = this.#random.below(20);
    if (this.#number < FILES && kind < 10) await this.#truncateShared(url);
    else if (kind < 9) await this.#acquire(url);
    else if (kind < 15) await this.#release(url);
    else if (kind < 17) await this.#shrink(url);
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
      access: this.#random.below(4) === 0 ? 'write' : 'read',
      ttl_ms: 600_000,
    });
    // Past the end of a file that was cut, in one of its holes, or while a change waits there.
    if (status === 400 || status === 409) return;
    if (status !== 201) throw new TypeError(JSON.stringify(json));
    this.#ledger.held.set(json.id, { extents: json.extents, shrinking: false, leaving: false });
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

  /** Gives back one page of a lease that has several. */
  async #shrink(url: string): Promise<void> {
    const id = this.#mine[this.#random.below(this.#mine.length)] ?? '';
    const known = this.#ledger.held.get(id);
    const [first, ...others] = known?.extents ?? [];
    if (known === undefined || first === undefined || others.length === 0) return;
    known.shrinking = true;
    const ranges = [{ offset: first.file_offset, length: PAGE_SIZE }];
    const { status, json } = await this.#call(`${url}/v1/leases/${id}/release`, 'POST', { ranges });
    if (status !== 200) throw new TypeError(JSON.stringify(json));
    Object.assign(known, { extents: json.extents, shrinking: false });
  }

  async #truncate(url: string): Promise<void> {
    const { status, json } = await this.#resize(url, `own-${this.#number}`, {});
    if (status !== 200) throw new TypeError(JSON.stringify(json));
  }

  /** Of a file that all clients lease, and only this one changes. */
  async #truncateShared(url: string): Promise<void> {
    const terms = TERMS[this.#random.below(TERMS.length)] ?? {};
    const { status, json } = await this.#resize(url, `shared-${this.#number}`, terms);
    if (status === 200) this.#ledger.answered(json.quarantined_bytes > 0 ? 'deferred' : 'done');
    else if ([409, 504, 507].includes(status)) this.#ledger.answered(json.code);
    else throw new TypeError(JSON.stringify(json));
  }

  async #resize(url: string, path: string, terms: object) {
    const size = this.#random.below(FILE_PAGES * PAGE_SIZE);
    this.#ledger.sizing(path, size);
    const truncate = `${url}/v1/partitions/pmem0p1/truncate`;
    const answer = await this.#call(truncate, 'POST', { path, size, ...terms });
    this.#ledger.sized(path, answer.status === 200);
    return answer;
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

async function makeFiles({ url }: Daxd, ledger: CrashLedger): Promise<void> {
  const names = [
    ...Array.from({ length: FILES }, (_, i) => `shared-${i}`),
    ...Array.from({ length: CLIENTS }, (_, i) => `own-${i}`),
  ];
  for (const name of names) {
    const body = Buffer.alloc(name.startsWith('own') ? 0 : FILE_PAGES * PAGE_SIZE, 1);
    const path = `${url}/v1/partitions/pmem0p1/files/${name}`;
    const { status } = await fetch(path, { method: 'PUT', body });
    if (status !== 201) throw new Error(`${name}: ${status}`);
    ledger.made(name, body.length);
  }
}

/** Compares what a daemon has after its restart with what clients were told; sorts out the rest. */
async function check(t: Test, daxd: Daxd, ledger: CrashLedger): Promise<void> {
  const found = await leasesOf(daxd);
  ledger.checkLeases(t, found);
  const device = (await getJson(`${daxd.url}/v1/device`)) as { pagemap: { pinned_pages: number } };
  t.equal(
    device.pagemap.pinned_pages,
    pagesUnder(found.values(), PAGE_SIZE).size,
    'the pins are those of the leases',
  );
  await ledger.checkSizes(t, async (path) => {
    const stat = `${daxd.url}/v1/partitions/pmem0p1/stat/${path}`;
    return ((await getJson(stat)) as { size: number }).size;
  });
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
  const ledger = new CrashLedger();
  await makeFiles(daxd, ledger);
  const place = await partitionOffset(daxd.url, 'pmem0p1');
  for (let round = 0; round < ROUNDS; round++) {
    const { url } = daxd;
    const wanted = ledger.answers + ANSWERS_MIN;
    const clients = Array.from({ length: CLIENTS }, (_, number) =>
      new Client(number, new SeededRandom(random.below(2 ** 31)), ledger).run(url),
    );
    await until(
      async () => ledger.answers,
      (answers) => answers >= wanted,
    );
    await setTimeout(random.below(KILL_MS_MAX));
    await daxd.stop('SIGKILL');
    await Promise.all(clients);
    daxd = await startDaxd(t, ['--backing', image]);
    await check(t, daxd, ledger);
    await daxd.stop('SIGTERM');
    const { status, output } = fsck(extract(image, place, join(directory, 'p1.img')));
    if (status !== 0) t.fail(output);
    daxd = await startDaxd(t, ['--backing', image]);
  }
  t.comment(`${ledger.answers} answers, ${ledger.gone.size} releases`);
  t.comment(JSON.stringify([...ledger.outcomes]));
  t.ok(ledger.outcomes.size > 0, 'changes met leases');
  t.equal(await daxd.stop(), 0);
});
