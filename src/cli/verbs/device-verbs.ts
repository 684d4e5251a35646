import type { Command } from 'commander';

import type { Device } from '../../http/schemas/device.js';
import type { VerbRunner } from '../verb.js';

/** `status`. */
export function addDeviceVerbs(program: Command, verb: VerbRunner): void {
  verb(program.command('status').description('the device and how it was attached')).action(
    async ({ client, terminal }) => {
      const device = await client.json<Device>({ method: 'GET', path: '/v1/device' });
      const { backing, namespace, pagemap, disk, attach } = device;
      await terminal.pairs(device, [
        ['disk', disk.name],
        ['size', disk.size],
        ['backing', backing.path],
        ['kind', backing.kind],
        ['persistence', backing.persistence],
        ['mode', namespace.mode],
        ['map', namespace.map],
        ['uuid', namespace.uuid ?? undefined],
        ['data offset', namespace.data_offset],
        ['pages', pagemap?.pages],
        ['pinned pages', pagemap?.pinned_pages],
        ['attach', `${attach.length} steps, ${attach.filter(({ ok }) => ok).length} ok`],
      ]);
    },
  );
}
