import { SECTOR_SIZE } from '../lib/units.js';
import type { GptCopy } from './gpt-copy.js';

/** Sectors of a disk; the end is the one after the last. */
export interface SectorRange {
  readonly firstLba: number;
  readonly endLba: number;
}

/** Sectors that a table has for itself. */
export interface GptPlace extends SectorRange {
  /** Which part of the table it is, for messages. */
  readonly what: string;
}

/** Where the parts of a table lie, or would be written: what its headers say, checked by nobody. */
export function gptPlaces(primary: GptCopy, backup: GptCopy): GptPlace[] {
  return [
    { what: 'protective MBR', firstLba: 0, endLba: 1 },
    ...placesOf('primary', primary),
    ...placesOf('backup', backup),
  ];
}

/**
 * Why the parts of a table cannot all be written, each by itself; undefined when they can. A
 * power cut leaves one whole copy only where no part shares a sector with another.
 *
 * @param usable the sectors of the partitions
 */
export function misplacement(
  places: readonly GptPlace[],
  diskSectors: number,
  usable: SectorRange,
): string | undefined {
  for (const [i, place] of places.entries()) {
    const { what, firstLba, endLba } = place;
    const named = `the ${what} at LBA ${firstLba}`;
    if (firstLba < 0 || endLba > diskSectors) return `${named} would lie outside the disk`;
    if (isShared(place, usable)) return `${named} lies among the sectors of partitions`;
    const other = placeUnder(places.slice(0, i), place);
    if (other !== undefined) return `${named} lies over the ${other.what} at LBA ${other.firstLba}`;
  }
  return undefined;
}

/** The first part of a table that shares a sector with `range`; undefined when none does. */
export function placeUnder(places: readonly GptPlace[], range: SectorRange): GptPlace | undefined {
  return places.find((place) => isShared(place, range));
}

function placesOf(which: string, { headerLba, tableLba, entries }: GptCopy): GptPlace[] {
  const tableSectors = Math.ceil(entries.length / SECTOR_SIZE);
  return [
    { what: `${which} header`, firstLba: headerLba, endLba: headerLba + 1 },
    { what: `${which} table`, firstLba: tableLba, endLba: tableLba + tableSectors },
  ];
}

function isShared(a: SectorRange, b: SectorRange): boolean {
  return a.firstLba < b.endLba && b.firstLba < a.endLba;
}
