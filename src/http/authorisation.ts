import type { FastifyInstance, RouteOptions } from 'fastify';

import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import type { Callers } from './callers.js';
import { addRouteHook } from './route-hook.js';
import type { Scope } from './scope.js';

/** What a call of an operation takes: a scope, or nothing, not even a token. */
type Need = Scope | 'nothing';

/** What each operation takes, by its id; HEAD takes what GET takes. */
const NEEDS: Readonly<Record<string, Need>> = {
  getLiveness: 'nothing',
  getReadiness: 'nothing',

  getDevice: 'read',
  getLease: 'read',
  getMetrics: 'read',
  getOpenApi: 'read',
  getOperation: 'read',
  listLeases: 'read',
  listNbdExports: 'read',
  listOperations: 'read',
  listPartitions: 'read',
  listRoot: 'read',
  readFile: 'read',
  readXattrs: 'read',
  readXattrsOfRoot: 'read',
  seek: 'read',
  statFile: 'read',
  statFilesystem: 'read',
  statRoot: 'read',

  cancelOperation: 'write',
  changeAttributes: 'write',
  changeRootAttributes: 'write',
  collapseRange: 'write',
  fallocate: 'write',
  insertRange: 'write',
  makeDirectory: 'write',
  makeLink: 'write',
  makeNode: 'write',
  makeSymlink: 'write',
  punchHole: 'write',
  removeFile: 'write',
  removeXattr: 'write',
  removeXattrOfRoot: 'write',
  rename: 'write',
  setXattr: 'write',
  setXattrOfRoot: 'write',
  truncate: 'write',
  writeFile: 'write',
  zeroRange: 'write',

  acquireLease: 'lease',
  deleteLease: 'lease',
  releaseLease: 'lease',
  renewLease: 'lease',

  addPartition: 'admin',
  deletePartition: 'admin',
  formatPartition: 'admin',
  mountPartition: 'admin',
  unmountPartition: 'admin',
};

/**
 * Has every route ask for what its operation takes, and paths without a route for a caller
 * that is known: what is not there is none of a stranger's business either.
 *
 * @throws InvariantError when a route is added whose operation is not in the table.
 */
export function authorise(app: FastifyInstance, callers: Callers): void {
  app.addHook('onRequest', (request, _reply, done) => {
    if (request.is404) callers.of(request.raw);
    done();
  });
  app.addHook('onRoute', (route) => {
    const need = needOf(route);
    if (need === 'nothing') return;
    addRouteHook(route, (request, _reply, done) => {
      const { name, scopes } = callers.of(request.raw);
      if (!scopes.has(need)) {
        throw new DaxdError('EPERM', `token ${name} has no scope ${need}: this call takes it`);
      }
      done();
    });
  });
}

function needOf({ schema, method, url }: RouteOptions): Need {
  const need = NEEDS[schema?.operationId ?? ''];
  assert(need !== undefined, `${[method].flat().join()} ${url} has a row in the table of needs`);
  return need;
}
