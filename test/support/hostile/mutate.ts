import type { SeededRandom } from '../seeded-random.js';
import { type Atlas, BLOCK, type Kind, type Structure } from './atlas.js';
import { type Field, fieldsOf } from './fields.js';
import { RECIPES } from './recipes.js';
import { seal } from './seal.js';

/** What was done to an image, for messages. */
export type Mutation = readonly string[];

/** Kinds that are aimed at, as often as they stand here. */
const AIMS: readonly Kind[] = [
  'superblock',
  'superblock',
  'descriptor',
  'block bitmap',
  'inode bitmap',
  'inode',
  'inode',
  'inode',
  'inode',
  'extent block',
  'extent block',
  'directory leaf',
  'directory leaf',
  'index root',
  'index root',
  'attribute block',
  'attribute block',
  'orphan block',
  'journal superblock',
  'journal superblock',
  'journal block',
  'journal block',
];

/** Changes an image in place, in one to three ways, all of them of the random numbers. */
export function mutate(image: Buffer, atlas: Atlas, random: SeededRandom): Mutation {
  const done: string[] = [];
  const ways = 1 + (random.below(3) === 0 ? random.below(3) : 0);
  for (let i = 0; i < ways; i++) {
    const way = random.below(10);
    if (way < 2) done.push(flipBytes(image, atlas, random));
    else if (way < 7) done.push(changeFields(image, atlas, random));
    else done.push(applyRecipe(image, atlas, random));
  }
  return done;
}

function pickStructure(atlas: Atlas, random: SeededRandom): Structure {
  for (;;) {
    const kind = random.pick(AIMS) ?? 'inode';
    const structure = random.pick(atlas.byKind.get(kind) ?? []);
    if (structure) return structure;
  }
}

/** Random bytes, mostly near the start, where something stands; two in three sealed. */
function flipBytes(image: Buffer, atlas: Atlas, random: SeededRandom): string {
  const structure = pickStructure(atlas, random);
  const isSealed = random.below(3) > 0;
  const reach = random.below(4) === 0 ? structure.length : Math.min(structure.length, 256);
  const flips = 1 + random.below(8);
  for (let i = 0; i < flips; i++) {
    const at = structure.offset + random.below(reach);
    image[at] =
      random.below(2) === 0 ? random.below(256) : (image[at] ?? 0) ^ (1 << random.below(8));
  }
  if (isSealed) seal(image, atlas, structure);
  return `${flips} bytes of ${nameOf(structure)}, ${isSealed ? 'sealed' : 'not sealed'}`;
}

/** One to three fields of a structure to values that lie at some edge; nine in ten sealed. */
function changeFields(image: Buffer, atlas: Atlas, random: SeededRandom): string {
  const structure = pickStructure(atlas, random);
  const done: string[] = [];
  const changes = 1 + random.below(3);
  for (let i = 0; i < changes; i++) {
    const field = random.pick(fieldsOf(image, structure, random));
    if (field === undefined) continue;
    const value = edgeValue(atlas, random, { field, current: read(image, structure, field) });
    write(image, structure, field, value);
    done.push(`0x${field.at.toString(16)}/${field.width} = 0x${value.toString(16)}`);
  }
  const isSealed = random.below(10) > 0;
  if (isSealed) seal(image, atlas, structure);
  return `${done.join(', ')} in ${nameOf(structure)}, ${isSealed ? 'sealed' : 'not sealed'}`;
}

function applyRecipe(image: Buffer, atlas: Atlas, random: SeededRandom): string {
  for (;;) {
    const recipe = random.pick(RECIPES);
    const touched = recipe?.apply({ image, atlas, random });
    if (recipe === undefined || touched === undefined) continue;
    for (const structure of touched) seal(image, atlas, structure);
    return `${recipe.title}: ${touched.map(nameOf).join(', ')}`;
  }
}

function edgeValue(
  atlas: Atlas,
  random: SeededRandom,
  { field, current }: { readonly field: Field; readonly current: number },
): number {
  const range = 256 ** field.width;
  const block = Math.floor((random.pick(atlas.structures)?.offset ?? 0) / BLOCK);
  const values = [0, 1, 2, 3, current + 1, current - 1, current * 2, range - 1, range - 2];
  values.push(range / 2, range / 2 - 1, random.below(range), random.below(64), block, block);
  values.push(atlas.blocks, atlas.blocks - 1, atlas.blocks + 1, atlas.inodes, atlas.inodes + 1);
  values.push(current ^ (1 << random.below(8 * field.width)), 1 + random.below(atlas.inodes));
  values.push(random.below(atlas.blocks), 4095, 4096, 32767, 32768, 32769, 65535, 12, 60, 255);
  const value = (random.pick(values) ?? 0) % range;
  return value < 0 ? value + range : value;
}

function read(image: Buffer, { offset }: Structure, { at, width, isBig }: Field): number {
  return isBig ? image.readUIntBE(offset + at, width) : image.readUIntLE(offset + at, width);
}

function write(image: Buffer, { offset }: Structure, field: Field, value: number): void {
  if (field.isBig) image.writeUIntBE(value, offset + field.at, field.width);
  else image.writeUIntLE(value, offset + field.at, field.width);
}

function nameOf({ kind, owner, offset }: Structure): string {
  return `${kind} of ${owner} at block ${Math.floor(offset / BLOCK)}`;
}
