import { Type } from 'typebox';
import type { Static, TSchema } from 'typebox';

const SIZE_PATTERN = '^[0-9]{1,16}[KMGT]?$';
const COUNT_PATTERN = '^[1-9][0-9]{0,3}$';
const MILLION_PATTERN = '^([1-9][0-9]{0,5}|1000000)$';
const DURATION_PATTERN = '^[0-9]{1,9}(ms|s|m)?$';

/** What an option shows in help beside its description, and says when its value is wrong. */
interface OptionHints {
  /** The value's name in help; absent for a flag. */
  readonly placeholder?: string;
  /** What to give, as the end of "--size "x" is not valid: give ...". */
  readonly give?: string;
}

/**
 * Options of `daxd serve`: the command line is made from this schema and checked against it.
 * A key is the option's name in camel case; values are as typed, not yet converted.
 */
export const ServeOptions = Type.Object(
  {
    backing: Type.Optional(
      Type.String({
        minLength: 1,
        placeholder: 'PATH',
        description:
          'a regular file, or a device-dax node such as /dev/dax0.0 (default: daxd-data/pmem0.img, ' +
          'created on first start as by --size 256M --init)',
        give: 'the path of a file or of a device-dax node',
      }),
    ),
    size: Type.Optional(
      Type.String({
        pattern: SIZE_PATTERN,
        placeholder: 'SIZE',
        description: 'create the file with this size when it does not exist',
        give: 'bytes, or a number with K, M, G or T (powers of 1024)',
      }),
    ),
    sparse: Type.Boolean({
      default: false,
      description: 'leave a created file sparse instead of allocating it',
    }),
    mount: Type.String({
      default: 'auto',
      minLength: 1,
      placeholder: 'auto|none|NAME',
      description: 'what is mounted at start: every ext4, nothing, or one partition',
      give: 'auto, none or the name of a partition',
    }),
    init: Type.Boolean({
      default: false,
      description: 'lay down an info block, a GPT and an ext4 on a blank backing',
    }),
    mode: Type.Optional(
      Type.Union([Type.Literal('fsdax'), Type.Literal('raw')], {
        placeholder: 'fsdax|raw',
        description: 'the mode that --init writes (default: fsdax)',
        give: 'fsdax or raw',
      }),
    ),
    map: Type.Optional(
      Type.Union([Type.Literal('dev'), Type.Literal('mem')], {
        placeholder: 'dev|mem',
        description: 'where --init says that page structures live (default: dev)',
        give: 'dev or mem',
      }),
    ),
    align: Type.Optional(
      Type.Union([Type.Literal('4K'), Type.Literal('2M'), Type.Literal('1G')], {
        placeholder: '4K|2M|1G',
        description: 'the alignment that --init writes (default: 2M)',
        give: '4K, 2M or 1G',
      }),
    ),
    forceRaw: Type.Boolean({ default: false, description: 'ignore the info block' }),
    listen: Type.Array(Type.String(), {
      default: ['127.0.0.1:8470'],
      minItems: 1,
      placeholder: 'ADDR',
      description: 'host:port or unix:/path, repeatable',
      give: 'host:port or unix:/path',
    }),
    allowHost: Type.Array(
      Type.String({ pattern: '^([A-Za-z0-9._-]{1,253}|\\[[0-9a-fA-F:.]{2,45}\\])$' }),
      {
        default: [],
        placeholder: 'NAME',
        description: 'a further name that the Host header may have, repeatable',
        give: 'a host name or address without a port',
      },
    ),
    tokenFile: Type.Optional(
      Type.String({
        minLength: 1,
        placeholder: 'FILE',
        description: 'callers over TCP need a token: lines NAME SCOPES TOKEN',
        give: 'a file',
      }),
    ),
    tlsCert: Type.Optional(
      Type.String({
        minLength: 1,
        placeholder: 'FILE',
        description: 'HTTP over TCP is HTTPS: the certificate, and what leads from it to a CA',
        give: 'a file in PEM',
      }),
    ),
    tlsKey: Type.Optional(
      Type.String({
        minLength: 1,
        placeholder: 'FILE',
        description: 'the key of --tls-cert',
        give: 'a file in PEM',
      }),
    ),
    tlsClientCa: Type.Optional(
      Type.String({
        minLength: 1,
        placeholder: 'FILE',
        description: 'callers over TCP need a certificate that one of these signed',
        give: 'a file in PEM',
      }),
    ),
    nbd: Type.Array(Type.String(), {
      default: [],
      placeholder: 'ADDR',
      description: 'serve NBD there, host:port or unix:/path, repeatable',
      give: 'host:port or unix:/path',
    }),
    nbdTlsCertificates: Type.Optional(
      Type.String({
        minLength: 1,
        placeholder: 'DIR',
        description: 'TLS for NBD: ca-cert.pem, server-cert.pem and server-key.pem lie there',
        give: 'a directory',
      }),
    ),
    nbdTlsPsk: Type.Optional(
      Type.String({
        minLength: 1,
        placeholder: 'FILE',
        description: 'TLS for NBD: lines user:hexkey, as psktool writes them',
        give: 'a file',
      }),
    ),
    nbdConnections: Type.String({
      default: '64',
      pattern: COUNT_PATTERN,
      placeholder: 'N',
      description: 'NBD connections at a time; further ones are closed at once',
      give: 'a number from 1 to 4096',
    }),
    nbdHandshakeTimeout: Type.String({
      default: '10s',
      pattern: DURATION_PATTERN,
      placeholder: 'TIME',
      description: 'how long the handshake of an NBD connection may take',
      give: 'seconds, or a number with ms, s or m',
    }),
    nbdOptions: Type.String({
      default: '64',
      pattern: COUNT_PATTERN,
      placeholder: 'N',
      description: 'options in one NBD handshake',
      give: 'a number from 1 to 4096',
    }),
    nbdOptionSize: Type.String({
      default: '64K',
      pattern: SIZE_PATTERN,
      placeholder: 'SIZE',
      description: 'bytes of one option of an NBD handshake',
      give: 'bytes, or a number with K or M, from 8K to 32M',
    }),
    nbdInFlight: Type.String({
      default: '1M',
      pattern: SIZE_PATTERN,
      placeholder: 'SIZE',
      description: 'bytes of replies that one NBD connection gathers before it sends them',
      give: 'bytes, or a number with K or M, from 64K to 1G',
    }),
    readOnly: Type.Boolean({
      default: false,
      description: 'attach and mount without a single store to the media',
    }),
    persistence: Type.Union([Type.Literal('auto'), Type.Literal('none')], {
      default: 'auto',
      placeholder: 'auto|none',
      description: 'how stores become durable; none gives durability up',
      give: 'auto or none',
    }),
    stateDir: Type.Optional(
      Type.String({
        minLength: 1,
        placeholder: 'DIR',
        description:
          'where leases are kept (default: the backing with .leases behind it; for a device ' +
          'daxd-data/NAME.leases)',
        give: 'a directory',
      }),
    ),
    fenceCommand: Type.Optional(
      Type.String({
        pattern: '^/',
        placeholder: 'PROGRAM',
        description: 'run to cut a holder off whose lease is revoked; exit 0: it is',
        give: 'the absolute path of a program',
      }),
    ),
    rememberedLeases: Type.String({
      default: '1000000',
      pattern: MILLION_PATTERN,
      placeholder: 'N',
      description:
        'ended leases and operations and idempotency keys that are remembered, for a day',
      give: 'a number from 1 to 1000000',
    }),
    drainTimeout: Type.String({
      default: '10s',
      pattern: DURATION_PATTERN,
      placeholder: 'TIME',
      description: 'how long SIGTERM waits for leases that are not kept yet',
      give: 'seconds, or a number with ms, s or m',
    }),
    logLevel: Type.Union(
      [
        Type.Literal('debug'),
        Type.Literal('info'),
        Type.Literal('warn'),
        Type.Literal('error'),
        Type.Literal('silent'),
      ],
      {
        default: 'info',
        placeholder: 'LEVEL',
        description: 'what goes to stderr: debug, info, warn, error or silent',
        give: 'debug, info, warn, error or silent',
      },
    ),
  },
  { additionalProperties: false },
);

/** Values of serve's options as typed, defaults filled in. */
export type ServeOptions = Static<typeof ServeOptions>;

/** One option as the command line needs it. */
export interface OptionSpec extends OptionHints {
  /** `drainTimeout` */
  readonly key: string;
  /** `--drain-timeout` */
  readonly flag: string;
  readonly description: string;
  readonly repeatable: boolean;
  readonly defaultValue: unknown;
}

/** Every option of serve, in the order in which help lists them. */
export function serveOptionSpecs(): OptionSpec[] {
  return Object.entries(ServeOptions.properties).map(([key, schema]) => optionSpec(key, schema));
}

function optionSpec(key: string, schema: TSchema & OptionHints): OptionSpec {
  const { description, type, default: defaultValue }: Record<string, unknown> = { ...schema };
  return {
    key,
    flag: optionFlag(key),
    description: typeof description === 'string' ? description : '',
    repeatable: type === 'array',
    defaultValue,
    ...(schema.placeholder === undefined ? {} : { placeholder: schema.placeholder }),
    ...(schema.give === undefined ? {} : { give: schema.give }),
  };
}

/** `drainTimeout` as `--drain-timeout`. */
export function optionFlag(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
