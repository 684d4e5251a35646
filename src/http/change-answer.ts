import type { FastifyReply, FastifyRequest } from 'fastify';

import type { ChangeResult } from '../fs/ext4/file-truncate.js';
import type { Evicted } from '../lease/revocation.js';
import { systemClock } from '../lib/clock.js';
import { subject } from './change-subject.js';
import type { AskedChange, Subject } from './change-subject.js';
import type { Control } from './control.js';
import { asyncPreference } from './prefer.js';
import type { AsyncPreference } from './prefer.js';
import type { LayoutChanged } from './schemas/file.js';
import type { Operation } from './schemas/operation.js';

/** How long a change waits that outlives its connection, where it does not say, in milliseconds. */
const KEPT_DEADLINE_MS = 3_600_000;

/** What a change answers. */
export function changedBody(
  size: number,
  { waitedMs, freedBytes, quarantinedBytes }: ChangeResult,
): LayoutChanged {
  return {
    size,
    waited_ms: waitedMs,
    freed_bytes: freedBytes,
    quarantined_bytes: quarantinedBytes,
  };
}

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
  control: Control,
  { params: { partition }, body, headers }: ChangeRequest,
  reply: FastifyReply,
  run: (subject: Subject) => Promise<LayoutChanged>,
): Promise<LayoutChanged | Operation> {
  const preference = asyncPreference(headers['prefer']);
  // What does not wait has nothing to go on with.
  if (preference !== undefined && body.on_conflict !== 'fail') {
    const kept = body.on_conflict === 'revoke' ? {} : { deadline_ms: KEPT_DEADLINE_MS };
    const asked = { ...kept, ...body };
    return answerWaiting(control, { partition, asked, reply, preference }, run);
  }
  const { subject: found, limit, evicted } = subject(control, partition, body, reply);
  return withEvicted(run(found), evicted).finally(limit.done);
}

async function withEvicted(
  work: Promise<LayoutChanged>,
  evicted: readonly Evicted[] | undefined,
): Promise<LayoutChanged> {
  const changed = await work;
  return evicted === undefined ? changed : { ...changed, evicted: [...evicted] };
}

interface KeptRequest {
  readonly partition: string;
  readonly asked: AskedChange;
  readonly reply: FastifyReply;
  readonly preference: AsyncPreference;
}

async function answerWaiting(
  control: Control,
  { partition, asked, reply, preference }: KeptRequest,
  run: (subject: Subject) => Promise<LayoutChanged>,
): Promise<LayoutChanged | Operation> {
  const { subject: found, limit, evicted } = subject(control, partition, asked, reply);
  let tell: ((id: string) => void) | undefined;
  const waits = new Promise<string>((resolve) => {
    tell = resolve;
  });
  const onWait = ({ id }: { readonly id: string }): void => {
    systemClock.setTimer(() => {
      tell?.(id);
    }, preference.waitMs);
  };
  const changing = run({ ...found, change: { ...found.change, onWait } });
  const work = withEvicted(changing, evicted).finally(limit.done);
  const first = await Promise.race([waits, work]);
  // Ended already, or its client is gone and will never hear of an operation.
  if (typeof first !== 'string' || limit.signal.aborted) return work;
  const operation = control.keepOperation(first, work, limit.cancel);
  void reply
    .code(202)
    .header('location', `/v1/operations/${operation.id}`)
    .header('preference-applied', 'respond-async');
  return operation;
}
