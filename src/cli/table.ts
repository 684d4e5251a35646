/** What one cell shows. */
export type Cell = string | number | boolean | undefined;

/** Rows under a heading, in columns; numbers to the right. */
export function formatTable(
  heading: readonly string[],
  rows: readonly (readonly Cell[])[],
): string {
  const texts = rows.map((row) => heading.map((_, i) => textOf(row[i])));
  const widths = heading.map((name, i) =>
    Math.max(name.length, ...texts.map((row) => row[i]?.length ?? 0)),
  );
  const right = heading.map((_, i) => rows.every((row) => typeof row[i] !== 'string'));
  return [heading, ...texts]
    .map((row) => row.map((text, i) => pad(text, widths[i] ?? 0, right[i] ?? false)).join('  '))
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

/** Names and values, one a line. */
export function formatPairs(pairs: readonly (readonly [string, Cell])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${name.padEnd(width)}  ${textOf(value)}\n`).join('');
}

function textOf(cell: Cell): string {
  if (cell === undefined || cell === '') return '-';
  if (typeof cell === 'boolean') return cell ? 'yes' : 'no';
  // A name may hold what a terminal would obey.
  return String(cell).replace(/\p{Cc}/gu, '?');
}

function pad(text: string, width: number, toRight: boolean): string {
  return toRight ? text.padStart(width) : text.padEnd(width);
}
