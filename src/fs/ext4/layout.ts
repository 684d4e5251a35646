/**
 * Where things lie in the ext4 format: offsets in bytes within their structure, bits and
 * limits. Little endian throughout. Facts: Linux Documentation/filesystems/ext4.
 */

/** Bytes of a block: the only size that daxd reads, one page. */
export const BLOCK_SIZE = 4096;
/** Bits of a bitmap, which is one block: more blocks or inodes no group has. */
export const BITMAP_BITS = 8 * BLOCK_SIZE;
/** The superblock's place on the partition, and its size. */
export const SUPERBLOCK_OFFSET = 1024;
export const SUPERBLOCK_SIZE = 1024;
/** The block that holds it. */
export const SUPERBLOCK_BLOCK = 0;
export const EXT4_MAGIC = 0xef53;

/** Fields of the superblock. @kernel struct ext4_super_block (fs/ext4/ext4.h) */
export const SuperField = {
  InodesCount: 0x00,
  BlocksCountLo: 0x04,
  ReservedBlocksLo: 0x08,
  FreeBlocksLo: 0x0c,
  FreeInodes: 0x10,
  FirstDataBlock: 0x14,
  LogBlockSize: 0x18,
  LogClusterSize: 0x1c,
  BlocksPerGroup: 0x20,
  ClustersPerGroup: 0x24,
  InodesPerGroup: 0x28,
  MountTime: 0x2c,
  WriteTime: 0x30,
  MountCount: 0x34,
  MaxMountCount: 0x36,
  Magic: 0x38,
  State: 0x3a,
  Errors: 0x3c,
  LastCheck: 0x40,
  RevLevel: 0x4c,
  FirstInode: 0x54,
  InodeSize: 0x58,
  BlockGroup: 0x5a,
  FeatureCompat: 0x5c,
  FeatureIncompat: 0x60,
  FeatureRoCompat: 0x64,
  Uuid: 0x68,
  VolumeName: 0x78,
  ReservedGdtBlocks: 0xce,
  JournalInode: 0xe0,
  LastOrphan: 0xe8,
  HashSeed: 0xec,
  DefHashVersion: 0xfc,
  JournalBackupType: 0xfd,
  DescSize: 0xfe,
  DefaultMountOptions: 0x100,
  MkfsTime: 0x108,
  JournalBlocks: 0x10c,
  BlocksCountHi: 0x150,
  ReservedBlocksHi: 0x154,
  FreeBlocksHi: 0x158,
  MinExtraIsize: 0x15c,
  WantExtraIsize: 0x15e,
  Flags: 0x160,
  LogGroupsPerFlex: 0x174,
  ChecksumType: 0x175,
  OrphanFileInode: 0x280,
  ChecksumSeed: 0x270,
  Checksum: 0x3fc,
} as const;

/** Bits of s_state. */
export const FsState = { Valid: 1, Error: 2, Orphans: 4 } as const;

/** Bits of s_default_mount_opts. @kernel EXT4_DEFM_* (fs/ext4/ext4.h) */
export const DefaultMountOption = { BsdGroups: 0x2, UserXattr: 0x4, Acl: 0x8 } as const;

/** The only s_checksum_type. */
export const CHECKSUM_CRC32C = 1;

/** Bits of s_flags. */
export const SuperFlag = { SignedHash: 1, UnsignedHash: 2 } as const;

export const FeatureCompat = {
  DirPrealloc: 0x1,
  HasJournal: 0x4,
  ExtAttr: 0x8,
  ResizeInode: 0x10,
  DirIndex: 0x20,
  SparseSuper2: 0x200,
  OrphanFile: 0x1000,
} as const;

export const FeatureIncompat = {
  Filetype: 0x2,
  Recover: 0x4,
  Extents: 0x40,
  Bit64: 0x80,
  FlexBg: 0x200,
  ChecksumSeed: 0x2000,
} as const;

export const FeatureRoCompat = {
  SparseSuper: 0x1,
  LargeFile: 0x2,
  HugeFile: 0x8,
  DirNlink: 0x20,
  ExtraIsize: 0x40,
  Bigalloc: 0x200,
  MetadataCsum: 0x400,
  OrphanPresent: 0x10000,
} as const;

/** Fields of a group descriptor; the high halves exist where s_desc_size is 64 or more. */
export const GroupField = {
  BlockBitmapLo: 0x00,
  InodeBitmapLo: 0x04,
  InodeTableLo: 0x08,
  FreeBlocksLo: 0x0c,
  FreeInodesLo: 0x0e,
  UsedDirsLo: 0x10,
  Flags: 0x12,
  BlockBitmapCsumLo: 0x18,
  InodeBitmapCsumLo: 0x1a,
  ItableUnusedLo: 0x1c,
  Checksum: 0x1e,
  BlockBitmapHi: 0x20,
  InodeBitmapHi: 0x24,
  InodeTableHi: 0x28,
  FreeBlocksHi: 0x2c,
  FreeInodesHi: 0x2e,
  UsedDirsHi: 0x30,
  ItableUnusedHi: 0x32,
  BlockBitmapCsumHi: 0x38,
  InodeBitmapCsumHi: 0x3a,
} as const;

/** Bits of bg_flags. */
export const GroupFlag = { InodeUninit: 1, BlockUninit: 2, ItableZeroed: 4 } as const;

/** Fields of an inode; those from ExtraIsize on exist where s_inode_size is above 128. */
export const InodeField = {
  Mode: 0x00,
  UidLo: 0x02,
  SizeLo: 0x04,
  Atime: 0x08,
  Ctime: 0x0c,
  Mtime: 0x10,
  Dtime: 0x14,
  GidLo: 0x18,
  LinksCount: 0x1a,
  BlocksLo: 0x1c,
  Flags: 0x20,
  Block: 0x28,
  Generation: 0x64,
  FileAclLo: 0x68,
  SizeHi: 0x6c,
  BlocksHi: 0x74,
  FileAclHi: 0x76,
  UidHi: 0x78,
  GidHi: 0x7a,
  ChecksumLo: 0x7c,
  ExtraIsize: 0x80,
  ChecksumHi: 0x82,
  CtimeExtra: 0x84,
  MtimeExtra: 0x88,
  AtimeExtra: 0x8c,
  Crtime: 0x90,
  CrtimeExtra: 0x94,
} as const;

/** Bytes of i_block: the root of the extent tree, or the target of a short symlink. */
export const I_BLOCK_SIZE = 60;
/** Bytes of the inode of ext2; what lies beyond is counted by i_extra_isize. */
export const GOOD_OLD_INODE_SIZE = 128;
/** Bytes of the fields behind it, as every ext4 of today has them. */
export const EXTRA_ISIZE = 32;

/** Bits of i_flags. */
export const InodeFlag = {
  SecureRemove: 0x1,
  Unremove: 0x2,
  Compressed: 0x4,
  Sync: 0x8,
  Immutable: 0x10,
  Append: 0x20,
  NoDump: 0x40,
  NoAtime: 0x80,
  NoCompress: 0x400,
  Index: 0x1000,
  NoTail: 0x8000,
  DirSync: 0x10000,
  HugeFile: 0x40000,
  Extents: 0x80000,
  Dax: 0x2000000,
  ProjectInherit: 0x20000000,
} as const;

/** The file type bits of i_mode. */
export const ModeType = {
  Mask: 0xf000,
  Fifo: 0x1000,
  Char: 0x2000,
  Directory: 0x4000,
  Block: 0x6000,
  File: 0x8000,
  Symlink: 0xa000,
  Socket: 0xc000,
} as const;

export const ROOT_INODE = 2;
/** The inode that every ext4 with a journal inside has. @kernel EXT4_JOURNAL_INO (fs/ext4/ext4.h) */
export const JOURNAL_INODE = 8;
/** Inodes below the first that files may take, in every ext4 of today. */
export const FIRST_INODE_MIN = 11;

/** Extent tree: header and entries of 12 bytes each. */
export const EXTENT_MAGIC = 0xf30a;
export const EXTENT_ENTRY_SIZE = 12;
export const EXTENT_ROOT_MAX = 4;
/** Entries of a tree block: (4096 - 12 - 4 of checksum) / 12. */
export const EXTENT_BLOCK_MAX = 340;
/** Deepest tree that the format knows. */
export const EXTENT_DEPTH_MAX = 5;
/** Blocks of the longest written extent; a length above it says unwritten. */
export const EXTENT_WRITTEN_MAX = 32768;
export const EXTENT_UNWRITTEN_MAX = 32767;

/** Blocks a file can map: logical block numbers are 32 bits, and the last one is not used. */
export const FILE_BLOCKS_MAX = 2 ** 32 - 1;
/** The largest file: 16 TiB less one block. */
export const FILE_SIZE_MAX = FILE_BLOCKS_MAX * BLOCK_SIZE;

/** Fields of an extended attribute block. */
export const XattrField = {
  Magic: 0x00,
  RefCount: 0x04,
  Blocks: 0x08,
  Hash: 0x0c,
  Checksum: 0x10,
} as const;
export const XATTR_MAGIC = 0xea020000;
/** Where the entries of an attribute block begin; within an inode they follow the magic. */
export const XATTR_HEADER_SIZE = 32;
/** Fields of one attribute, its name behind them. */
export const XattrEntryField = {
  NameLength: 0x00,
  NameIndex: 0x01,
  ValueOffset: 0x02,
  ValueInode: 0x04,
  ValueSize: 0x08,
  Hash: 0x0c,
  Name: 0x10,
} as const;

/** Where the slots of a block of the orphan file end: magic and checksum stand behind them. */
export const ORPHAN_SLOTS_END = BLOCK_SIZE - 8;
export const ORPHAN_BLOCK_MAGIC = 0x0b10ca04;
