/** The command line asks for what cannot be: exit 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
