import t from 'tap';

import { NbdWorker, type SharedBirth } from '../../../src/nbd/nbd-worker.js';

const BIRTH: SharedBirth = {
  spinners: new Int32Array(1),
  spinnersMax: 0,
  limits: { optionsMax: 64, optionBytesMax: 4096, inFlightBytes: 65_536 },
  tls: undefined,
};

t.test('end: of a thread that fails to start, which is no failure of the end', async (t) => {
  const failures: Error[] = [];
  // Beside the bundle of this test there is no file for its thread.
  const worker = new NbdWorker(BIRTH, (error) => failures.push(error));
  await t.resolves(worker.end());
  t.equal(worker.isUsable, false, 'it did not start');
  t.strictSame(failures, [], 'and that is no defect');
});
