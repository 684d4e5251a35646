import { Type } from 'typebox';

/** `GET /livez` */
export const Alive = Type.Object({ alive: Type.Boolean() });

/** `GET /readyz` */
export const Ready = Type.Object({
  ready: Type.Boolean(),
  reasons: Type.Array(Type.String(), { description: 'why it is not ready' }),
});
