import type { FastifyPluginCallbackTypebox } from '@fastify/type-provider-typebox';

import type { Control, MountedFiles } from '../control.js';
import { pathFromTarget } from '../file-path.js';
import { ChangeAttributes, FileStat } from '../schemas/file.js';
import { Problem } from '../schemas/problem.js';
import { PartitionParams } from '../schemas/values.js';
import { nsFromTimestamp, timestampFromNs } from '../timestamp.js';

const params = PartitionParams;
const response = { 200: FileStat, default: Problem };

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
          response,
        },
      },
      (request) => {
        const files = control.files(request.params.partition);
        const path = pathFromTarget(request.url);
        return statOf(files, files.fs.lookup(path, { follow: false }));
      },
    );

    app.patch(
      url,
      {
        config: { change: true },
        schema: {
          operationId: url.endsWith('*') ? 'changeAttributes' : 'changeRootAttributes',
          summary: 'set permissions, owner and times; of a symlink itself, not its target',
          params,
          body: ChangeAttributes,
          response,
        },
      },
      async (request, reply) => {
        const files = control.files(request.params.partition);
        const { mode, uid, gid, atime, mtime } = request.body;
        const inode = files.fs.lookup(pathFromTarget(request.url), { follow: false });
        await files.fs.setAttributes(inode, {
          mode,
          uid,
          gid,
          atimeNs: atime === undefined ? undefined : nsFromTimestamp(atime),
          mtimeNs: mtime === undefined ? undefined : nsFromTimestamp(mtime),
        });
        return reply.code(200).send(statOf(files, inode));
      },
    );
  }
  done();
};

function statOf(files: MountedFiles, inode: number): FileStat {
  const { fs, startBytes } = files;
  const { target, device, ...stat } = fs.stat(inode);
  const extents = stat.type === 'file' ? fs.extents(inode) : [];
  return {
    inode,
    type: stat.type,
    mode: stat.mode,
    nlink: stat.nlink,
    uid: stat.uid,
    gid: stat.gid,
    size: stat.size,
    blocks: stat.blocks,
    atime: timestampFromNs(stat.atimeNs),
    mtime: timestampFromNs(stat.mtimeNs),
    ctime: timestampFromNs(stat.ctimeNs),
    ...(target !== undefined && { target }),
    ...(device !== undefined && { device }),
    extents: extents.map(({ fileOffset, mediaOffset, length, unwritten }) => ({
      file_offset: fileOffset,
      device_offset: startBytes + mediaOffset,
      length,
      unwritten,
    })),
    pinned_pages: files.pinnedPages(extents),
  };
}
