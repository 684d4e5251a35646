import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { Control, MountedFiles } from '../control.js';
import { pathFromTarget } from '../file-path.js';
import { FileStat } from '../schemas/file.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';
import { timestampFromNs } from '../timestamp.js';

const params = PartitionParams;

/** What files are, and where their bytes lie. */
export const statRoutes: FastifyPluginCallbackTypebox<{ readonly control: Control }> = (
  app,
  { control },
  done,
) => {
  for (const url of ['/v1/partitions/:partition/stat', '/v1/partitions/:partition/stat/*']) {
    app.get(
      url,
      {
        schema: {
          operationId: url.endsWith('*') ? 'statFile' : 'statRoot',
          summary: 'an inode and where its bytes lie; a symlink itself, not its target',
          params,
          response: { 200: FileStat, default: Problem },
        },
      },
      (request) => {
        const files = control.files(request.params.partition);
        const path = pathFromTarget(request.url);
        return statOf(files, files.fs.lookup(path, { follow: false }));
      },
    );
  }
  done();
};

function statOf(files: MountedFiles, inode: number): FileStat {
  const { fs, startBytes } = files;
  const { mtimeNs, target, ...stat } = fs.stat(inode);
  const extents = stat.type === 'file' ? fs.extents(inode) : [];
  return {
    inode,
    type: stat.type,
    mode: stat.mode,
    nlink: stat.nlink,
    size: stat.size,
    blocks: stat.blocks,
    mtime: timestampFromNs(mtimeNs),
    ...(target !== undefined && { target }),
    extents: extents.map(({ fileOffset, mediaOffset, length, unwritten }) => ({
      file_offset: fileOffset,
      device_offset: startBytes + mediaOffset,
      length,
      unwritten,
    })),
    pinned_pages: files.pinnedPages(extents),
  };
}
