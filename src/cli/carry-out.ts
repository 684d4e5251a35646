import type { Call } from '../client/connection.js';
import { jsonOf } from './client.js';
import type { VerbContext } from './verb.js';

/** No content: the answer has no body. */
const NO_CONTENT = 204;

/**
 * Makes a call whose answer nobody waits for but scripts: with `--json` it is printed, `{}` where
 * the daemon has none.
 *
 * @throws RefusedError, UnreachableError
 */
export async function carryOut(
  { client, terminal }: Pick<VerbContext, 'client' | 'terminal'>,
  call: Call,
): Promise<void> {
  const response = await client.stream(call);
  if (response.statusCode === NO_CONTENT) {
    response.resume();
    await terminal.done({});
  } else await terminal.done(await jsonOf<unknown>(response, client.url));
}
