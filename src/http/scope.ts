/** What a caller may be allowed to do; `admin` includes the others, which include nothing else. */
export const SCOPES = ['read', 'write', 'lease', 'admin'] as const;

/** A member of {@link SCOPES}. */
export type Scope = (typeof SCOPES)[number];

/** The scopes that `given` amount to: all of them where `admin` is among them. */
export function expandScopes(given: readonly Scope[]): ReadonlySet<Scope> {
  return new Set(given.includes('admin') ? SCOPES : given);
}
