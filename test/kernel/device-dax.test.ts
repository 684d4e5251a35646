/** daxd on a real /dev/dax0.0, in a guest with a real kernel; see the script beside this file. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import t from 'tap';

import { requires } from '../support/requires.js';

const SCRIPT = fileURLToPath(new URL('device-dax', import.meta.url));
const LIMIT_MS = 590_000;

t.test('/dev/dax0.0: what one boot wrote, the next one finds', { timeout: LIMIT_MS }, async (t) => {
  const commands = ['qemu-system-x86_64', 'ndctl', 'busybox', 'cpio', 'depmod'];
  if (!requires(t, { commands, root: true })) return;

  // Rejects, with what was printed, when a boot does not end with status 0.
  const { stdout } = await promisify(execFile)(SCRIPT, { timeout: LIMIT_MS });
  t.match(stdout, /first boot: all as expected/);
  t.match(stdout, /second boot: all as expected/);
  t.match(stdout, /"persistence":"libpmem"/);
});
