import type { RouteOptions, onRequestHookHandler } from 'fastify';

/** Runs `hook` at the start of each request of a route, behind those that the route has. */
export function addRouteHook(route: RouteOptions, hook: onRequestHookHandler): void {
  route.onRequest = [...[route.onRequest ?? []].flat(), hook];
}
