/** How stores become durable: by msync, by libpmem's cache flushes, or not at all. */
export type PersistenceKind = 'msync' | 'libpmem' | 'none';
