import { WAIT_MS_MAX } from './schemas/values.js';

/** That a client would rather have a 202 than wait for the end (RFC 7240). */
export interface AsyncPreference {
  /** How long it waits for the end before that, in milliseconds. */
  readonly waitMs: number;
}

/** `respond-async`, `wait=10`, `wait="10"; foo=bar`. */
const PREFERENCE = /^\s*([A-Za-z-]+)\s*(?:=\s*"?(\d{1,9})"?\s*)?(?:;.*)?$/;

/**
 * What a Prefer header says of `respond-async` and `wait` (seconds); undefined without the
 * former. What it says else is passed over, and so is what is no preference: RFC 7240 has
 * neither refused.
 */
export function asyncPreference(
  header: string | readonly string[] | undefined,
): AsyncPreference | undefined {
  const found = new Map<string, string | undefined>();
  for (const text of [header ?? []].flat().join(',').split(',')) {
    const [, name, value] = PREFERENCE.exec(text) ?? [];
    // Of one that is given twice the first counts.
    if (name !== undefined && !found.has(name.toLowerCase())) found.set(name.toLowerCase(), value);
  }
  if (!found.has('respond-async')) return undefined;
  return { waitMs: Math.min(Number(found.get('wait') ?? 0) * 1000, WAIT_MS_MAX) };
}
