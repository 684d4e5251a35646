import t from 'tap';

import { ConflictTerms } from '../../../src/http/file-change.js';
import { HOLDERS_NAMED_MAX } from '../../../src/lease/limits.js';
import { setUpLayouts, truncateOf } from '../dax/set-up.js';

t.test('evicted: of very many leases so many are named', async (t) => {
  const leases = Array.from({ length: HOLDERS_NAMED_MAX + 1 }, (_, i) => ({
    lease: `lease ${i}`,
    state: 'revoked' as const,
  }));
  const terms = new ConflictTerms({ revokeFor: async () => leases }, 'pmem0p1', 'revoke');
  const { layouts, pin } = await setUpLayouts();
  pin(0);
  const revoke = terms.revoke;
  const layout = await layouts.breakLayouts(truncateOf(0, 1, { defer: true, revoke }));
  layout.lift();
  const changed = { size: 0, waited_ms: 0, freed_bytes: 0, quarantined_bytes: 0 };
  const { evicted } = await terms.answer(Promise.resolve(changed));
  t.strictSame(evicted, leases.slice(0, HOLDERS_NAMED_MAX));
});
