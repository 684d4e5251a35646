/** An open file or device. */
export interface OpenedFile {
  readonly fd: number;
  /** For messages. */
  readonly path: string;
}
