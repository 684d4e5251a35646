import { assert } from './assert.js';

/** A promise, and what settles it. */
export interface WithResolvers<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T | PromiseLike<T>) => void;
  readonly reject: (reason: unknown) => void;
}

/** What `Promise.withResolvers` is from Node 22 on. Does not await. */
export function withResolvers<T = void>(): WithResolvers<T> {
  let resolvers: Omit<WithResolvers<T>, 'promise'> | undefined;
  const promise = new Promise<T>((resolve, reject) => {
    resolvers = { resolve, reject };
  });
  assert(resolvers !== undefined, 'a promise runs its executor before it is there');
  return { promise, ...resolvers };
}
