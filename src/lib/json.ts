/** What a text says in JSON; undefined where it is none, as from another server or cut off. */
export function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
