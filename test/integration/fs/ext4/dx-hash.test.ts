import { randomUUID } from 'node:crypto';

import t from 'tap';

import { nameHash } from '../../../../src/fs/ext4/dx-hash.js';
import { SuperField, SuperFlag } from '../../../../src/fs/ext4/layout.js';
import { runJudge } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { testSeed } from '../../../support/random-test.js';
import { SeededRandom } from '../../../support/seeded-random.js';

/** Numbers that debugfs knows the hashes by: the three signed ones, then the unsigned ones. */
const VERSIONS = [0, 1, 2, 3, 4, 5];

/** A name of each length with any byte that debugfs reads as it is: printable, or from 0x80 on. */
function someNames(random: SeededRandom): Buffer[] {
  return Array.from({ length: 255 }, (_, i) => {
    const name = random.bytes(i + 1).map((byte) => (isPlain(byte) ? byte : 0x80 + (byte % 0x80)));
    // Not taken for an option.
    name[0] = 0x61 + random.below(26);
    return Buffer.from(name);
  });
}

function isPlain(byte: number): boolean {
  return (
    byte >= 0x80 || (byte > 0x20 && byte < 0x7f && !'"\'#\\'.includes(String.fromCharCode(byte)))
  );
}

t.test('nameHash: what debugfs says, names of 1 to 255 bytes, signed and unsigned', async (t) => {
  if (!requires(t, { commands: ['debugfs'] })) return;
  const random = new SeededRandom(testSeed(t));
  for (const seed of [undefined, randomUUID()]) {
    for (const version of VERSIONS) {
      const bytes = Buffer.alloc(1024);
      if (seed !== undefined) bytes.write(seed.replaceAll('-', ''), SuperField.HashSeed, 'hex');
      bytes.writeUInt32LE(
        version < 3 ? SuperFlag.SignedHash : SuperFlag.UnsignedHash,
        SuperField.Flags,
      );
      const hashOf = nameHash({ bytes }, version % 3);
      const names = someNames(random);
      const theirs = askDebugfs(names, version, seed);
      t.strictSame(names.map(hashOf), theirs, `hash ${version} with seed ${seed}`);
    }
  }
});

function askDebugfs(names: readonly Buffer[], version: number, seed: string | undefined): number[] {
  const options = `-h ${version}${seed === undefined ? '' : ` -s ${seed}`}`;
  const requests = names.map((name) => `dx_hash ${options} ${name.toString('latin1')}\n`);
  const { output } = runJudge('debugfs', ['-f', '-'], Buffer.from(requests.join(''), 'latin1'));
  return [...output.matchAll(/ is (0x[0-9a-f]+) \(minor/g)].map(([, hash]) => Number(hash));
}
