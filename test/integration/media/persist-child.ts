/**
 * Creates the backing that it is told, persists two bytes of it, and prints its pid and where
 * the first page is mapped.
 */
import { readFileSync } from 'node:fs';

import { silentLogger } from '../../../src/lib/logger.js';
import { openBacking } from '../../../src/media/open-backing.js';

const [image = ''] = process.argv.slice(2);
const backing = await openBacking(image, { sizeBytes: 65536, log: silentLogger });
backing.mapping.fill(8191, 2, 1);
await backing.persist(8191, 2);

const line = readFileSync('/proc/self/maps', 'utf8')
  .split('\n')
  .find((line) => line.endsWith(image));
process.stdout.write(JSON.stringify({ pid: process.pid, address: `0x${line?.split('-')[0]}` }));
await backing.close();
