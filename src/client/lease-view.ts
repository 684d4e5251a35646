/** A range of a file, or of a raw partition, in bytes. */
export interface LentBytes {
  readonly offset: number;
  readonly length: number;
}

/** Where bytes of a lease lie; `device_offset` counts from the start of the backing. */
export interface LentExtent {
  readonly file_offset: number;
  readonly device_offset: number;
  readonly length: number;
}

/** What the holder of a lease is asked for: a change of the file waits. */
export interface Recall {
  /** The operation that waits: `GET /v1/operations/{id}`. */
  readonly operation: string;
  /** `truncate`, `punch-hole`, ... */
  readonly op: string;
  /** Of the lease: what it waits for. */
  readonly ranges: readonly LentBytes[];
  /** When the operation gives up, or takes the lease, in milliseconds from when this was told. */
  readonly deadline_ms?: number;
}

/** A lease as the daemon answers it. */
export interface LeaseView {
  readonly id: string;
  /** Larger than that of any lease before: what guards a device refuses smaller ones. */
  readonly fencing_token: number;
  readonly state: string;
  readonly partition: string;
  readonly path?: string;
  readonly offset: number;
  readonly length: number;
  readonly access: 'read' | 'write';
  readonly ttl_ms: number;
  readonly remaining_ttl_ms: number;
  readonly ranges: readonly LentBytes[];
  readonly backing_path: string;
  readonly extents: readonly LentExtent[];
  /** Where the daemon has each holder prove itself: shown once, with the grant. */
  readonly secret?: string;
  /** Where a renewal tells of them. */
  readonly recalls?: readonly Recall[];
}

/** What of an operation concerns a holder. */
export interface OperationView {
  readonly id: string;
  readonly op: string;
  readonly offset: number;
  /** Null: to the end of the file. */
  readonly end: number | null;
  readonly blocked_by: readonly string[];
  readonly waited_ms: number;
  /** From its start. */
  readonly deadline_ms?: number;
}
