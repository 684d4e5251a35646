import t from 'tap';

import { solveWord } from '../../../../src/fs/jbd2/checksum-word.js';
import { CRC_INIT, crc32c } from '../../../../src/lib/crc32c.js';
import { testSeed } from '../../../support/random-test.js';
import { SeededRandom } from '../../../support/seeded-random.js';

t.test('solveWord: the word that gives a checksum, wherever it stands', async (t) => {
  const random = new SeededRandom(testSeed(t));
  for (let i = 0; i < 50; i++) {
    const bytes = random.bytes(64 + random.below(1000));
    const at = random.below(bytes.length - 4);
    const checksumWith = (word: number): number => {
      bytes.writeUInt32BE(word, at);
      return crc32c(CRC_INIT, bytes);
    };
    const word = random.below(2 ** 32);
    t.equal(solveWord(checksumWith, checksumWith(word)), word, 'there is one alone');
    const target = random.below(2 ** 32);
    t.equal(checksumWith(solveWord(checksumWith, target)), target);
  }
});
