import type { Mutation, PowerCutWorkload } from './mutant.js';

interface Control {
  readonly name: string;
  readonly workload: PowerCutWorkload;
  readonly mutations: readonly Mutation[];
  /** Looks at one place of the log in so many, and at all updates of superblocks. */
  readonly oneIn?: number;
}

const COMMIT = 'await this.#journal?.commit(compound);';
const PERSIST_LOG = 'await this.#persist(0, length + this.#clearNext(length));';
const LOG_KEPT =
  'if (length > 0) await this.#append({ blocks: this.#kept, revoked: NONE }, length);';
const MOVE_START = 'await this.superblock.moveStart(start);';
const CHECKPOINT = 'await this.#storeInPlace(compound);';

/** Ways to be wrong that only a power cut shows. */
export const CONTROLS: readonly Control[] = [
  {
    name: 'no revocations',
    workload: 'revoke',
    mutations: [
      {
        file: 'src/fs/ext4/compound-transaction.ts',
        text: 'this.revoked.add(block);',
        instead: '',
      },
    ],
  },
  {
    name: 'in place before the commit',
    workload: 'scripted',
    mutations: [
      { file: 'src/fs/ext4/commits.ts', text: COMMIT, instead: '' },
      { file: 'src/fs/ext4/commits.ts', text: CHECKPOINT, instead: `${CHECKPOINT} ${COMMIT}` },
    ],
  },
  {
    name: 'checksum of a logged block over the wrong length',
    workload: 'scripted',
    mutations: [
      {
        file: 'src/fs/jbd2/log-records.ts',
        text: 'descriptor.writeUInt32BE(crc32c(tagSeed, bytes), at + TagField.Checksum);',
        instead:
          'descriptor.writeUInt32BE(crc32c(tagSeed, bytes.subarray(0, 4092)), at + TagField.Checksum);',
      },
    ],
  },
  {
    name: 'checksum of the commit record over the wrong length',
    workload: 'scripted',
    mutations: [
      {
        file: 'src/fs/jbd2/log-records.ts',
        text: 'commit.writeUInt32BE(crc32c(seed, commit), CommitField.Checksum);',
        instead:
          'commit.writeUInt32BE(crc32c(seed, commit.subarray(0, 1024)), CommitField.Checksum);',
      },
      {
        file: 'src/fs/jbd2/log-records.ts',
        text: 'return block.readUInt32BE(CommitField.Checksum) === crc32c(seed, copy);',
        instead:
          'return block.readUInt32BE(CommitField.Checksum) === crc32c(seed, copy.subarray(0, 1024));',
      },
    ],
  },
  {
    name: 'the commit record before what it commits is durable',
    workload: 'scripted',
    mutations: [
      {
        file: 'src/fs/jbd2/journal.ts',
        text: PERSIST_LOG,
        instead: '',
      },
    ],
  },
  {
    name: 'a persist that is too short',
    workload: 'scripted',
    mutations: [
      {
        file: 'src/fs/jbd2/journal.ts',
        text: PERSIST_LOG,
        instead: 'this.#clearNext(length); await this.#persist(0, length - 2);',
      },
    ],
  },
  {
    name: 'metadata before the data that it names',
    workload: 'scripted',
    mutations: [
      {
        file: 'src/fs/ext4/data-stores.ts',
        text: 'await Promise.all(stored.map(({ from, to }) => this.#volume.persist(from, to - from)));',
        instead: '',
      },
    ],
  },
  {
    name: 'a log that moves before what is kept is logged again',
    workload: 'restart',
    oneIn: 200,
    mutations: [
      { file: 'src/fs/jbd2/journal.ts', text: LOG_KEPT, instead: '' },
      { file: 'src/fs/jbd2/journal.ts', text: MOVE_START, instead: `${MOVE_START} ${LOG_KEPT}` },
    ],
  },
  {
    name: 'a log that moves with the next sequence, and another checksum',
    workload: 'restart',
    oneIn: 200,
    mutations: [
      {
        file: 'src/fs/jbd2/journal.ts',
        text: 'this.#sequence = this.superblock.sequenceFor(start);',
        instead: '',
      },
    ],
  },
  {
    name: 'a superblock without its copy',
    workload: 'mount',
    mutations: [
      {
        file: 'src/fs/ext4/superblock-store.ts',
        text: 'range.write(SHADOW_OFFSET, bytes);',
        instead: '',
      },
    ],
  },
];
