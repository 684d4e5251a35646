import type { FastifyReply, FastifyRequest } from 'fastify';

import type { PendingChange } from '../dax/layout-change.js';
import type { FileChange } from '../lease/kept-operation.js';
import type { CancelTimer } from '../lib/clock.js';
import { withResolvers } from '../lib/with-resolvers.js';
import { changeSubject } from './change-subject.js';
import type { AskedChange, ChangePorts } from './change-subject.js';
import { PatientChange } from './patient-change.js';
import { asyncPreference } from './prefer.js';
import type { AsyncPreference } from './prefer.js';
import type { LayoutChanged } from './schemas/file.js';
import type { Operation } from './schemas/operation.js';

/** How long a change waits that outlives its connection, where it does not say, in milliseconds. */
const KEPT_DEADLINE_MS = 3_600_000;

/** What the routes that change a layout have of a request. */
interface ChangeRequest extends Pick<FastifyRequest, 'headers'> {
  readonly params: { readonly partition: string };
  readonly body: AskedChange;
}

/**
 * Runs a change of a file's layout. It is given up when the connection ends, unless the client
 * prefers a 202 to a wait: then it goes on as an operation.
 *
 * @returns the body of a 200, or of a 202 that is set on `reply`.
 */
export async function answerChange(
  ports: ChangePorts,
  { params: { partition }, body, headers }: ChangeRequest,
  reply: FastifyReply,
  change: FileChange,
): Promise<LayoutChanged | Operation> {
  const preference = asyncPreference(headers['prefer']);
  const { on_conflict: onConflict = 'wait' } = body;
  // What does not wait has nothing to go on with.
  if (preference !== undefined && onConflict !== 'fail') {
    const kept = onConflict === 'revoke' ? {} : { deadline_ms: KEPT_DEADLINE_MS };
    const asked = { ...kept, ...body, on_conflict: onConflict };
    return answerWaiting(ports, { partition, asked, reply, preference }, change);
  }
  const { fs, ...subject } = changeSubject(ports, partition, body, reply);
  const patient = new PatientChange({ ...subject, change });
  return patient.until(patient.run(fs));
}

interface KeptRequest {
  readonly partition: string;
  readonly asked: AskedChange & { readonly on_conflict: 'wait' | 'defer' | 'revoke' };
  readonly reply: FastifyReply;
  readonly preference: AsyncPreference;
}

async function answerWaiting(
  ports: ChangePorts,
  { partition, asked, reply, preference }: KeptRequest,
  change: FileChange,
): Promise<LayoutChanged | Operation> {
  const { fs, ...subject } = changeSubject(ports, partition, asked, reply);
  const { inode, path, limit } = subject;
  const { deadlineMs } = limit;
  const onConflict = asked.on_conflict;
  const kept = ports.control.keptChange({ partition, inode, path, change, onConflict, deadlineMs });
  const patient = new PatientChange({ ...subject, change, kept });
  const { promise: waits, resolve: tell } = withResolvers<PendingChange>();
  let cancelTimer: CancelTimer | undefined;
  const onWait = (waiting: PendingChange): void => {
    cancelTimer = ports.clock.setTimer(() => {
      tell(waiting);
    }, preference.waitMs);
  };
  const work = patient.until(patient.run(fs, onWait));
  const first = await Promise.race([waits, work]).finally(() => {
    cancelTimer?.();
  });
  // Ended already, or its client is gone and will never hear of an operation.
  if (!('state' in first) || limit.signal.aborted) return work;
  const operation = await kept.keep(first, work, limit.cancel);
  if (operation === undefined) return work;
  void reply
    .code(202)
    .header('location', `/v1/operations/${operation.id}`)
    .header('preference-applied', 'respond-async');
  return operation;
}
