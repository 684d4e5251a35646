/** A UUID as text, in either case. */
const PATTERN = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Bytes of a UUID. */
export const UUID_BYTES = 16;

/**
 * The usual form of a UUID, such as `2500be98-0529-4248-a91d-331db61bd1d3`. The bytes stand in
 * the order of the text; a GPT's GUIDs swap the first three groups.
 *
 * @param at where its 16 bytes begin
 */
export function formatUuid(bytes: Buffer, at = 0): string {
  const hex = bytes.toString('hex', at, at + UUID_BYTES);
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** The 16 bytes of a UUID in that form; undefined where the text is none. */
export function parseUuid(text: string): Buffer | undefined {
  return PATTERN.test(text) ? Buffer.from(text.replaceAll('-', ''), 'hex') : undefined;
}
