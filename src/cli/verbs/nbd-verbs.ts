import type { Command } from 'commander';

import type { NbdExports } from '../../http/schemas/nbd.js';
import type { VerbRunner } from '../verb.js';

/** `nbd list`. */
export function addNbdVerbs(program: Command, verb: VerbRunner): void {
  const nbd = program.command('nbd').description('what NBD clients can open');
  verb(nbd.command('list').description('the exports, and where they are served')).action(
    async ({ client, terminal }) => {
      const found = await client.json<NbdExports>({ method: 'GET', path: '/v1/nbd' });
      const exports = found.exports.map((one) => ({
        ...one,
        uris: found.listen.map((uri) => exportUri(uri, one.name)),
      }));
      await terminal.table(
        exports,
        ['NAME', 'SIZE', 'ACCESS', 'CLIENTS', 'DESCRIPTION', 'URI'],
        exports.map(({ name, size, read_only: readOnly, clients, description, uris }) => [
          name,
          size,
          readOnly ? 'read-only' : 'read-write',
          clients,
          description,
          uris.join(' '),
        ]),
      );
    },
  );
}

/** The URI of one export at one address: the name is the path. */
function exportUri(uri: string, name: string): string {
  return uri.includes('+unix:///')
    ? uri.replace('+unix:///', `+unix:///${name}`)
    : `${uri}/${name}`;
}
