import { constants, createReadStream, fstatSync, readFileSync } from 'node:fs';
import { Readable } from 'node:stream';

const FD = 0;
/** Of /dev/null: major 1, minor 3. */
const NULL_DEVICE = 0x103;

/**
 * Standard input, which fails when it is read where it is a directory, or closed: Node takes the
 * one for an input without bytes, and opens `/dev/null` in place of the other.
 */
export function standardInput(): Readable {
  const stats = fstatSync(FD);
  if (stats.isDirectory()) return createReadStream('', { fd: FD });
  const isNull = stats.isCharacterDevice() && stats.rdev === NULL_DEVICE;
  return isNull && isOpenForWriting() ? closedInput() : process.stdin;
}

/** What Node opens in place of a closed descriptor is; what a shell opens as `<FILE` is not. */
function isOpenForWriting(): boolean {
  const [, flags = '0'] = /^flags:\s*([0-7]+)$/m.exec(textOf(`/proc/self/fdinfo/${FD}`)) ?? [];
  return (Number.parseInt(flags, 8) & constants.O_RDWR) !== 0;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Where no /proc is mounted it cannot be told.
    return '';
  }
}

function closedInput(): Readable {
  return new Readable({
    read() {
      const message =
        'EBADF: it is closed, or /dev/null open for writing; where no bytes are meant, </dev/null says so';
      this.destroy(Object.assign(new Error(message), { code: 'EBADF' }));
    },
  });
}
