import type { Lease } from './lease.js';

/**
 * Looks at a lease right before it is changed, when no other durable step of it is under way.
 * What it throws refuses the change.
 */
export type LeaseCheck = (lease: Lease) => void;
