/** Contexts that BLOCK_STATUS can report. The id on the wire is the position here, from 1. */
const META_CONTEXTS = ['base:allocation', 'daxd:lease'] as const;
/** A member of {@link META_CONTEXTS}. */
export type MetaContext = (typeof META_CONTEXTS)[number];

/** The id of a context on the wire; the same on every connection. */
export function metaContextId(context: MetaContext): number {
  return META_CONTEXTS.indexOf(context) + 1;
}

/**
 * The contexts of `available` that one of the queries names. A namespace with an empty leaf,
 * such as `base:`, names all of its contexts where wildcards count, which is in a listing;
 * other namespaces, and leaves that are not there, name nothing.
 */
export function queriedContexts(
  available: readonly MetaContext[],
  queries: readonly string[],
  wildcards: 'wildcards' | 'exact',
): MetaContext[] {
  return available.filter((context) =>
    queries.some(
      (query) =>
        query === context ||
        (wildcards === 'wildcards' && query === context.slice(0, context.indexOf(':') + 1)),
    ),
  );
}
