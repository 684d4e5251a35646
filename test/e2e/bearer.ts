/** The arguments of curl by which it shows a token. */
export function bearer(token: string): string[] {
  return ['-H', `authorization: Bearer ${token}`];
}
