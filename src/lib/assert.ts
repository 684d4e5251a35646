/** A broken invariant: a defect of daxd, never of its input. It ends the process. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/**
 * Checks what must hold whatever the input. Stays on in production: a wrong page count
 * that goes unseen costs more than a stopped daemon.
 *
 * @throws InvariantError with `message`, which states what should have held.
 */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message);
}
