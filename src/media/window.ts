/** One stretch of a file or device to map as a Buffer. */
export interface WindowRequest {
  /** For messages. */
  readonly path: string;
  readonly fd: number;
  /** A multiple of what the file or device aligns its mappings to, at least 4096. */
  readonly offset: number;
  readonly length: number;
  readonly readOnly: boolean;
}
