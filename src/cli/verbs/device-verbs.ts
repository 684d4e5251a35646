import type { Command } from 'commander';

import type { Device } from '../../http/schemas/device.js';
import type { Partition } from '../../http/schemas/partition.js';
import type { VerbRunner } from '../verb.js';

/** `status` and `partitions`. */
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

  verb(program.command('partitions').description('the partitions and what is on them')).action(
    async ({ client, terminal }) => {
      const partitions = await client.json<Partition[]>({ method: 'GET', path: '/v1/partitions' });
      await terminal.table(
        partitions,
        ['NAME', 'LABEL', 'START', 'SIZE', 'DAX', 'TYPE', 'MOUNTED', 'FREE'],
        partitions.map(({ name, label, start, size, dax, filesystem }) => [
          name,
          label,
          start,
          size,
          dax.supported ? 'yes' : (dax.errno ?? 'no'),
          filesystem?.type,
          mountState(filesystem),
          filesystem?.free_bytes,
        ]),
      );
    },
  );
}

function mountState(filesystem: Partition['filesystem']): string | undefined {
  if (filesystem === null) return undefined;
  if (filesystem.mounted) return filesystem.read_only ? 'read-only' : 'yes';
  return filesystem.error === undefined ? 'no' : filesystem.error.code;
}
