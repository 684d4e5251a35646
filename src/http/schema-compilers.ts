import { AjvCompiler } from '@fastify/ajv-compiler';
import { SerializerSelector } from '@fastify/fast-json-stringify-compiler';
import type { FastifyInstance } from 'fastify';

/** Validator settings: Fastify's own drop unknown members and turn "1" into 1. */
const VALIDATOR_OPTIONS = {
  removeAdditional: false,
  coerceTypes: false,
  useDefaults: false,
  allErrors: false,
  verbose: true,
} as const;

/**
 * Has Fastify's own compilers compile a schema when its route is first called: to compile all of
 * them took a fifth of a start, and a daemon is asked for few of its routes.
 */
export function compileWhenCalled(app: FastifyInstance): void {
  const validator = AjvCompiler()({}, { customOptions: VALIDATOR_OPTIONS });
  app.setValidatorCompiler((route) => {
    let validate: ReturnType<typeof validator> | undefined;
    return (data: unknown) => {
      // It takes the whole route, whatever its typings say.
      validate ??= validator(route);
      return validate(data) === true ? true : { error: validate.errors ?? [] };
    };
  });
  const serializer = SerializerSelector()({}, {});
  app.setSerializerCompiler((route) => {
    const { httpStatus = 'default' } = route;
    let serialize: ReturnType<typeof serializer> | undefined;
    return (data: unknown) => (serialize ??= serializer({ ...route, httpStatus }))(data);
  });
}
