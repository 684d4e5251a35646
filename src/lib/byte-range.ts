/** A stretch of bytes of whatever it is counted in; both below 2 ** 53. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}
