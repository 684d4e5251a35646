/** First 16 bytes of a BTT arena. @kernel BTT_SIG (drivers/nvdimm/btt.h) */
export const BTT_SIGNATURE = Buffer.from('BTT_ARENA_INFO\0\0', 'latin1');

/** Where the first arena begins: BTT 1.1 leaves 4 KiB before it, 2.0 nothing. */
export const BTT_SIGNATURE_OFFSETS = [4096, 0] as const;
