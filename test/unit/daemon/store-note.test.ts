import t from 'tap';

import { StoreNote } from '../../../src/daemon/store-note.js';
import { silentLogger } from '../../../src/lib/logger.js';
import { MIB } from '../../../src/lib/units.js';
import { FileNote } from '../../../src/media/file-note.js';
import { MemoryBacking } from '../../support/memory-backing.js';
import { MemoryStore } from '../lease/memory-store.js';

t.test('drop: a note that cannot be taken away stays, and the daemon ends all the same', (t) => {
  const lines: string[] = [];
  const log = { ...silentLogger, warn: (_fields: object, line: string) => lines.push(line) };
  // No file is open there.
  const note = new FileNote({ fd: -1, path: '/nowhere', name: 'user.daxd.leases' });
  const backing = Object.assign(new MemoryBacking(MIB), { note });
  new StoreNote(backing, '/nowhere.leases', log).drop(new MemoryStore());
  t.match(lines, [/^the name of its store stays on the backing: .*nowhere/]);
  t.end();
});
