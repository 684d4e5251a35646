import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Test } from 'tap';

import { fsck } from '../support/ext4-image.js';
import { extract } from '../support/extract.js';
import { curl, partitionOffset, post } from './daxd.js';
import type { CurlAnswer, Daxd } from './daxd.js';

const P = 4096;

/** Writes a file of sixteen pages, and leases its second half to a client. */
export async function leaseHalf(
  t: Test,
  daxd: Daxd,
  lease: object,
): Promise<{ readonly place: [number, number]; readonly lease: CurlAnswer['json'] }> {
  const body = join(t.testdirName, 'body');
  writeFileSync(body, Buffer.alloc(16 * P, 0x41));
  await curl('-X', 'PUT', '-T', body, `${daxd.url}/v1/partitions/pmem0p1/files/a`);
  const place = await partitionOffset(daxd.url, 'pmem0p1');
  const asked = { partition: 'pmem0p1', path: 'a', offset: 8 * P, length: 8 * P, access: 'write' };
  const granted = await curl(
    ...post(`${daxd.url}/v1/leases`, { ...asked, ttl_ms: 60_000, ...lease }),
  );
  t.equal(granted.status, 201);
  return { place, lease: granted.json };
}

/** Copies the partition out, and has e2fsck look at it. */
export function judge(t: Test, image: string, place: [number, number], look = fsck): string {
  const part = extract(image, place, join(t.testdirName, 'p1.img'));
  const { status, output } = look(part);
  t.equal(status, 0, output);
  return part;
}
