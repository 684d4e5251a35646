import type { FastifyInstance, FastifyRequest, RouteOptions, preHandlerHookHandler } from 'fastify';

import { assert } from '../lib/assert.js';
import { DaxdError } from '../lib/errno.js';
import type { Callers } from './callers.js';
import type { LeaseControl } from './control.js';
import { isLeaseSecret } from './lease-secret.js';
import { addBodyHook, addRouteHook } from './route-hook.js';
import type { Scope } from './scope.js';

/**
 * What a call of an operation takes: a scope; with `lease and secret` also the secret of the
 * lease, but for those with scope admin; where leases can be revoked on the way, admin for that; or nothing, not even a token.
 */
type Need = Scope | 'lease and secret' | 'write, or admin to revoke' | 'nothing';

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
  listQuarantine: 'read',
  listRoot: 'read',
  readFile: 'read',
  readXattrs: 'read',
  readXattrsOfRoot: 'read',
  seek: 'read',
  statFile: 'read',
  statFilesystem: 'read',
  statRoot: 'read',
  watchEvents: 'read',

  cancelOperation: 'write',
  changeAttributes: 'write',
  changeRootAttributes: 'write',
  collapseRange: 'write, or admin to revoke',
  fallocate: 'write, or admin to revoke',
  insertRange: 'write, or admin to revoke',
  makeDirectory: 'write',
  makeLink: 'write',
  makeNode: 'write',
  makeSymlink: 'write',
  punchHole: 'write, or admin to revoke',
  removeFile: 'write',
  removeXattr: 'write',
  removeXattrOfRoot: 'write',
  rename: 'write',
  setXattr: 'write',
  setXattrOfRoot: 'write',
  truncate: 'write, or admin to revoke',
  writeFile: 'write',
  zeroRange: 'write, or admin to revoke',

  acknowledgeRecall: 'lease and secret',
  acquireLease: 'lease',
  bindLease: 'lease and secret',
  deleteLease: 'lease and secret',
  releaseLease: 'lease and secret',
  renewLease: 'lease and secret',

  addPartition: 'admin',
  attestQuarantine: 'admin',
  deletePartition: 'admin',
  formatPartition: 'admin',
  mountPartition: 'admin',
  revokeLease: 'admin',
  unmountPartition: 'admin',
};

/** What the OpenAPI document calls the tokens; the scopes of each operation come from the table. */
export const SECURITY_SCHEME = 'token';

/** Who may call, and the leases that some calls are about. */
export interface AuthoriseOptions {
  readonly callers: Callers;
  readonly leases: Pick<LeaseControl, 'get'>;
}

/**
 * Has every route ask for what its operation takes, and paths without a route for a caller
 * that is known: what is not there is none of a stranger's business either.
 *
 * @throws InvariantError when a route is added whose operation is not in the table.
 */
export function authorise(app: FastifyInstance, { callers, leases }: AuthoriseOptions): void {
  app.addHook('onRequest', (request, _reply, done) => {
    if (request.is404) callers.of(request.raw);
    done();
  });
  app.addHook('onRoute', (route) => {
    const need = needOf(route);
    const takesSecret = need === 'lease and secret';
    const mayRevoke = need === 'write, or admin to revoke';
    const scope = takesSecret ? 'lease' : mayRevoke ? 'write' : need;
    const security = scope === 'nothing' ? [] : [{ [SECURITY_SCHEME]: [scope] }];
    route.schema = { ...route.schema, security };
    if (scope === 'nothing') return;
    if (mayRevoke) addBodyHook(route, refuseRevoking(callers));
    addRouteHook(route, (request, _reply, done) => {
      const { name, scopes } = callers.of(request.raw);
      if (!scopes.has(scope)) {
        throw new DaxdError('EPERM', `token ${name} has no scope ${scope}: this call takes it`);
      }
      if (takesSecret && !scopes.has('admin')) checkSecret(request, leases);
      done();
    });
  });
}

function needOf({ schema, method, url }: RouteOptions): Need {
  const need = NEEDS[schema?.operationId ?? ''];
  assert(need !== undefined, `${[method].flat().join()} ${url} has a row in the table of needs`);
  return need;
}

/** Whether a change takes leases from their holders, its body says. */
function refuseRevoking(callers: Callers): preHandlerHookHandler {
  return ({ body, raw }, _reply, done) => {
    const revokes =
      typeof body === 'object' &&
      body !== null &&
      'on_conflict' in body &&
      body.on_conflict === 'revoke';
    const { name, scopes } = callers.of(raw);
    if (revokes && !scopes.has('admin')) {
      throw new DaxdError('EPERM', `token ${name} has no scope admin: on_conflict revoke takes it`);
    }
    done();
  };
}

/**
 * Whether it is left out or wrong, the answer is the same.
 *
 * @throws DaxdError EPERM; ENOENT when there is no such lease.
 */
function checkSecret(
  { params, headers }: FastifyRequest,
  leases: AuthoriseOptions['leases'],
): void {
  assert(
    typeof params === 'object' && params !== null && 'id' in params,
    'the path of a call about one lease has its id',
  );
  const id = String(params.id);
  const given = headers['lease-secret'];
  const { secretHash } = leases.get(id).terms;
  if (typeof given === 'string' && isLeaseSecret(given, secretHash)) return;
  throw new DaxdError(
    'EPERM',
    `lease ${id} is not shown to be yours: send the secret that came with it as Lease-Secret`,
  );
}
