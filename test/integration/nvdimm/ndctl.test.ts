import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import t from 'tap';

import { silentLogger } from '../../../src/lib/logger.js';
import { GIB, KIB, MIB } from '../../../src/lib/units.js';
import { openBacking } from '../../../src/media/open-backing.js';
import {
  decodeInfoBlock,
  encodeInfoBlock,
  INFO_BLOCK_OFFSET,
  InfoBlockSignature,
} from '../../../src/nvdimm/info-block.js';
import { initNamespace } from '../../../src/nvdimm/init-namespace.js';
import { ndPfnCreate } from '../../../src/nvdimm/nd-pfn-create.js';
import { ndPfnValidate } from '../../../src/nvdimm/nd-pfn-validate.js';
import { requires } from '../../support/requires.js';

const run = promisify(execFile);
const uuid = '11111111-2222-3333-4444-555555555555';

interface NdctlBlock {
  readonly dataoff: number;
  readonly npfns: number;
  readonly align: number;
  readonly start_pad: number;
  readonly end_trunc: number;
  readonly uuid: string;
  readonly mode: number;
}

/** What ndctl reads with the checksum verified; its exit code says nothing, its output does. */
async function readInfoblock(path: string): Promise<NdctlBlock[]> {
  const { stdout } = await run('ndctl', ['read-infoblock', '-i', path, '-j', '-V']);
  return JSON.parse(stdout) as NdctlBlock[];
}

async function writeInfoblock(path: string, options: readonly string[]): Promise<void> {
  await run('ndctl', ['write-infoblock', '-u', uuid, '-o', path, ...options]);
}

const SIZES = [
  ['16M', 16 * MIB],
  ['256M+4K', 256 * MIB + 4 * KIB],
  ['3G+6M', 3 * GIB + 6 * MIB],
  ['70G', 70 * GIB],
] as const;
const ALIGNS = [
  ['4K', 4 * KIB],
  ['2M', 2 * MIB],
  ['1G', GIB],
] as const;

t.test('encodeInfoBlock: the vectors, and ndctl writes the same bytes', async (t) => {
  const path = join(t.testdir(), 'image');
  const { Pfn, Dax } = InfoBlockSignature;
  for (const [mode, signature, map, sha] of [
    ['fsdax', Pfn, 'dev', 'b533ae64e310d252ab79360b936de2b97edd361c44e4c95d14c3cded368babc4'],
    ['fsdax', Pfn, 'mem', '332fdac218b617d99bc0552786802520914eb538ed694aad81a598e5c369acc8'],
    ['devdax', Dax, 'dev', 'd01ed67fe29120918e1632f30ddbd7976965ff2e7c2fe92eeb39037aa24c2d22'],
  ] as const) {
    const align = 2 * MIB;
    const sb = { ...ndPfnCreate({ map, align, uuid, namespaceBytes: 256 * MIB }), signature };
    const ours = Buffer.concat([Buffer.alloc(INFO_BLOCK_OFFSET), encodeInfoBlock(sb)]);
    t.equal(createHash('sha256').update(ours).digest('hex'), sha, `${mode} ${map}`);
    if (!requires(t, { commands: ['ndctl'] })) return;
    await writeFile(path, '');
    await truncate(path, 256 * MIB);
    await writeInfoblock(path, ['-m', mode, '-M', map]);
    const theirs = (await readFile(path)).subarray(0, ours.length);
    t.ok(theirs.equals(ours), `ndctl's ${mode} ${map}`);
  }
});

for (const [name, sizeBytes] of SIZES) {
  t.test(`ndctl: ${name} files agree both ways for every map and align`, async (t) => {
    if (!requires(t, { commands: ['ndctl'] })) return;
    const path = join(t.testdir(), 'image');
    for (const map of ['dev', 'mem'] as const) {
      for (const [alignText, align] of ALIGNS) {
        if (align > sizeBytes) continue;
        await t.test(`map=${map} align=${alignText}`, async (t) => {
          const sb = ndPfnCreate({ map, align, uuid, namespaceBytes: sizeBytes });
          const ours = encodeInfoBlock(sb);

          await writeFile(path, '');
          await truncate(path, sizeBytes);
          await writeInfoblock(path, ['-m', 'fsdax', '-M', map, '-a', alignText]);
          const file = await open(path, 'r+');
          const theirs = Buffer.alloc(ours.length);
          await file.read(theirs, 0, theirs.length, INFO_BLOCK_OFFSET);
          t.ok(theirs.equals(ours), 'byte for byte');
          const valid = ndPfnValidate(theirs, {
            signature: InfoBlockSignature.Pfn,
            namespaceBytes: sizeBytes,
          });
          t.strictSame(valid, decodeInfoBlock(theirs), 'and valid');

          await file.write(Buffer.alloc(8192), 0, 8192, 0);
          await file.close();
          const backing = await openBacking(path, { log: silentLogger });
          await initNamespace(backing, { mode: 'fsdax', map, align, uuid });
          await backing.close();
          t.match(await readInfoblock(path), [
            {
              dataoff: sb.dataoff,
              npfns: sb.npfns,
              align,
              start_pad: 0,
              end_trunc: sb.endTrunc,
              uuid,
              mode: sb.mode,
            },
          ]);
        });
      }
    }
  });
}

t.test('ndctl: sees no block once a bit of ours is flipped', async (t) => {
  if (!requires(t, { commands: ['ndctl'] })) return;
  const path = join(t.testdir(), 'image');
  const sb = ndPfnCreate({ map: 'dev', align: 2 * MIB, uuid, namespaceBytes: 16 * MIB });
  const block = encodeInfoBlock(sb);
  const image = Buffer.concat([Buffer.alloc(INFO_BLOCK_OFFSET), block]);
  await writeFile(path, image);
  t.equal((await readInfoblock(path)).length, 1);
  image.writeUInt8(image.readUInt8(6000) ^ 1, 6000);
  await writeFile(path, image);
  t.equal((await readInfoblock(path)).length, 0);
});
