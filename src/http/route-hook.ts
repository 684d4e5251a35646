import type { RouteOptions, onRequestHookHandler, preHandlerHookHandler } from 'fastify';

/** Runs `hook` at the start of each request of a route, behind those that the route has. */
export function addRouteHook(route: RouteOptions, hook: onRequestHookHandler): void {
  route.onRequest = [...[route.onRequest ?? []].flat(), hook];
}

/** Runs `hook` once the body of each request of a route is read and valid. */
export function addBodyHook(route: RouteOptions, hook: preHandlerHookHandler): void {
  route.preHandler = [...[route.preHandler ?? []].flat(), hook];
}
