const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000 };

/**
 * Reads a time such as `500ms`, `30s`, `5m`, or a number of seconds, as milliseconds.
 *
 * @returns undefined for what is no such time, or has more than nine digits.
 */
export function parseDurationMs(text: string): number | undefined {
  const [, number, unit = 's'] = /^(\d{1,9})(ms|s|m)?$/.exec(text) ?? [];
  const unitMs = UNIT_MS[unit];
  return number === undefined || unitMs === undefined ? undefined : Number(number) * unitMs;
}
