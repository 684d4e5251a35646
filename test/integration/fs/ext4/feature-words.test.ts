import { readFileSync, writeFileSync } from 'node:fs';

import t from 'tap';

import { INCOMPAT, RO_COMPAT } from '../../../../src/fs/ext4/feature-words.js';
import { SUPERBLOCK_OFFSET, SuperField } from '../../../../src/fs/ext4/layout.js';
import { featureNames } from '../../../../src/fs/feature-names.js';
import { MIB } from '../../../../src/lib/units.js';
import { runJudge } from '../../../support/ext4-image.js';
import { requires } from '../../../support/requires.js';
import { newImage, openImage } from './volume-set-up.js';

const ALL = 2 ** 32 - 1;

t.test('featureNames: every bit has the name that dumpe2fs gives it', async (t) => {
  if (!requires(t, { commands: ['mke2fs', 'dumpe2fs'] })) return;
  const image = newImage(t, [], 16 * MIB);
  const bytes = readFileSync(image);
  bytes.writeUInt32LE(ALL, SUPERBLOCK_OFFSET + SuperField.FeatureIncompat);
  bytes.writeUInt32LE(ALL, SUPERBLOCK_OFFSET + SuperField.FeatureRoCompat);
  writeFileSync(image, bytes);
  const { output } = runJudge('dumpe2fs', ['-hf', image]);
  const names = `${featureNames(ALL, INCOMPAT)} ${featureNames(ALL, RO_COMPAT)}`;
  t.equal(/Filesystem features:.*(compression .*)/.exec(output)?.[1], names);
});

t.test('openVolume: a refusal says which features', async (t) => {
  if (!requires(t, { commands: ['mke2fs'] })) return;
  for (const [features, named] of [
    ['inline_data,encrypt', 'it has the features inline_data encrypt;'],
    ['^extent,^64bit', 'made without the features extent;'],
  ] as const) {
    await t.rejects(openImage(newImage(t, ['-O', features], 16 * MIB)), {
      name: 'DaxdError',
      code: 'EOPNOTSUPP',
      message: new RegExp(named),
    });
  }
});
