import { DaxdError } from '../lib/errno.js';

/**
 * Bytes from base64 as RFC 4648 has it: padded, nothing between.
 *
 * @param member what the text is called in the request, for the refusal.
 * @throws DaxdError EINVAL.
 */
export function bytesFromBase64(text: string, member: string): Buffer {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.toString('base64') === text) return bytes;
  throw new DaxdError('EINVAL', `${member} is not base64 with padding`);
}
