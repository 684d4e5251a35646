/** The two parts of a device number. */
export interface DeviceNumber {
  readonly major: number;
  readonly minor: number;
}

/**
 * Splits a `dev` or `rdev` of stat as glibc's gnu_dev_major and gnu_dev_minor do: bits 8 to
 * 19 and 44 on are the major, bits 0 to 7 and 20 to 43 the minor.
 */
export function deviceNumber(dev: number): DeviceNumber {
  const number = BigInt(dev);
  return {
    major: Number(((number >> 8n) & 0xfffn) | ((number >> 32n) & ~0xfffn)),
    minor: Number((number & 0xffn) | ((number >> 12n) & 0xffffff00n)),
  };
}
