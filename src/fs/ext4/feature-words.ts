import type { FeatureWord } from '../feature-names.js';

/** The features of a superblock that keep who does not know them from reading it, by the names of e2fsprogs. */
export const INCOMPAT: FeatureWord = {
  letter: 'I',
  names: {
    0: 'compression',
    1: 'filetype',
    2: 'needs_recovery',
    3: 'journal_dev',
    4: 'meta_bg',
    6: 'extent',
    7: '64bit',
    8: 'mmp',
    9: 'flex_bg',
    10: 'ea_inode',
    12: 'dirdata',
    13: 'metadata_csum_seed',
    14: 'large_dir',
    15: 'inline_data',
    16: 'encrypt',
    17: 'casefold',
  },
};

/** Those that keep who does not know them from writing to it. */
export const RO_COMPAT: FeatureWord = {
  letter: 'R',
  names: {
    0: 'sparse_super',
    1: 'large_file',
    3: 'huge_file',
    4: 'uninit_bg',
    5: 'dir_nlink',
    6: 'extra_isize',
    8: 'quota',
    9: 'bigalloc',
    10: 'metadata_csum',
    11: 'replica',
    12: 'read-only',
    13: 'project',
    14: 'shared_blocks',
    15: 'verity',
    16: 'orphan_present',
  },
};
