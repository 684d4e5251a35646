/** What daxd uses of the `gpt` package, which ships no types. LBAs are BigInt there. */
declare module 'gpt' {
  class PartitionEntry {
    constructor(options?: {
      type?: string;
      guid?: string;
      name?: string;
      firstLBA?: bigint;
      lastLBA?: bigint;
      attr?: bigint;
    });
    static parse(buffer: Buffer, offset?: number): PartitionEntry;
    type: string;
    guid: string;
    name: string;
    firstLBA: bigint;
    lastLBA: bigint;
    attr: bigint;
    isEmpty(): boolean;
    write(buffer?: Buffer, offset?: number): Buffer;
  }

  export default class GPT {
    static readonly SIGNATURE: string;
    static readonly PartitionEntry: typeof PartitionEntry;
    constructor(options?: {
      blockSize?: number;
      guid?: string;
      currentLBA?: bigint;
      backupLBA?: bigint;
      firstLBA?: bigint;
      lastLBA?: bigint;
      tableOffset?: bigint;
    });
    guid: string;
    headerSize: number;
    headerChecksum: number;
    currentLBA: bigint;
    backupLBA: bigint;
    firstLBA: bigint;
    lastLBA: bigint;
    tableOffset: bigint;
    entries: number;
    entrySize: number;
    tableChecksum: number;
    parseHeader(buffer: Buffer, offset?: number): this;
    writeHeader(buffer?: Buffer, offset?: number): Buffer;
    checksumHeader(buffer: Buffer, offset?: number): number;
  }
}
