import { Value } from 'typebox/value';

import { DaxdError } from '../lib/errno.js';
import { GIB, KIB, MIB, PAGE_SIZE, isAligned } from '../lib/units.js';
import { type AccessConfig, idleAccessOptions, loadAccessConfig } from './access.js';
import { durationMsOption } from './duration-option.js';
import { LIMITS } from './limits.js';
import { parseListenAddress } from './listen-address.js';
import type { ListenAddress } from './listen-address.js';
import { loadNbdConfig, nbdWarnings, type NbdConfig } from './nbd.js';
import { ServeOptions, optionFlag, serveOptionSpecs } from './schema.js';
import { sizeOption } from './size-option.js';

/** What `--init` writes. */
interface InitConfig {
  /** False for the embedded default, which is initialised only while it is blank. */
  readonly required: boolean;
  readonly mode: 'fsdax' | 'raw';
  readonly map: 'dev' | 'mem';
  readonly alignBytes: number;
}

/** What `daxd serve` was asked to do, checked. */
export interface ServeConfig {
  readonly backing: string;
  /** No `--backing`: the embedded default, created and initialised on first start. */
  readonly isDefaultBacking: boolean;
  /** Size of a file that does not exist yet; undefined: it must exist. */
  readonly sizeBytes: number | undefined;
  readonly sparse: boolean;
  /** `auto`, `none`, or a partition's name. */
  readonly mount: string;
  readonly init: InitConfig | undefined;
  readonly forceRaw: boolean;
  readonly readOnly: boolean;
  readonly persistence: 'auto' | 'none';
  readonly listen: readonly ListenAddress[];
  readonly allowHosts: readonly string[];
  readonly access: AccessConfig;
  readonly nbd: NbdConfig;
  /** Where leases are kept; undefined: beside the backing, or for a device under daxd-data. */
  readonly stateDirectory: string | undefined;
  /** The program that cuts holders of leases off. */
  readonly fenceCommand: string | undefined;
  /** Ended leases and idempotency keys that the daemon remembers. */
  readonly rememberedLeases: number;
  readonly drainTimeoutMs: number;
  readonly logLevel: ServeOptions['logLevel'];
  /** What was given but changes nothing, or leaves a door open; for the log. */
  readonly warnings: readonly string[];
}

const DEFAULT_BACKING = 'daxd-data/pmem0.img';
/** How large the embedded default is made. */
export const DEFAULT_SIZE_BYTES = 256 * MIB;
const ALIGN_BYTES = { '4K': 4 * KIB, '2M': 2 * MIB, '1G': GIB } as const;
/** The only partition of a new namespace. */
const INIT_PARTITION = 'pmem0p1';
/** Two MiB of data area behind an info block's own few, and room for a GPT and a small ext4. */
const INIT_SIZE_BYTES_MIN = 16 * MIB;

/**
 * Checks serve's options, as typed, against the schema and against each other.
 *
 * @param given options by key; those absent take their defaults.
 * @throws DaxdError EINVAL naming the option, its value and what to give instead.
 */
export function loadServeConfig(given: Readonly<Record<string, unknown>>): ServeConfig {
  const options = checkSchema(given);
  const isDefaultBacking = options.backing === undefined;
  const defaultSizeBytes = isDefaultBacking ? DEFAULT_SIZE_BYTES : undefined;
  const listen = options.listen.map((text) => parseListenAddress(text, '--listen'));
  const access = loadAccessConfig(options, listen);
  const nbd = loadNbdConfig(options);
  const config: ServeConfig = {
    backing: options.backing ?? DEFAULT_BACKING,
    isDefaultBacking,
    sizeBytes: options.size === undefined ? defaultSizeBytes : sizeOption('--size', options.size),
    sparse: options.sparse,
    mount: options.mount,
    init: options.init || isDefaultBacking ? initConfig(options) : undefined,
    forceRaw: options.forceRaw,
    readOnly: options.readOnly,
    persistence: options.persistence,
    listen,
    allowHosts: options.allowHost.map((host) => host.toLowerCase()),
    access,
    nbd,
    stateDirectory: options.stateDir,
    fenceCommand: options.fenceCommand,
    rememberedLeases: Number(options.rememberedLeases),
    drainTimeoutMs: durationMsOption('--drain-timeout', options.drainTimeout, {
      mostMs: LIMITS.drainTimeoutMsMax,
    }),
    logLevel: options.logLevel,
    warnings: [
      ...idleOptions(options),
      ...idleAccessOptions(access, listen),
      ...nbdWarnings(nbd, access.tokenFile),
    ],
  };
  checkRelations(config, options);
  return config;
}

function checkSchema(given: Readonly<Record<string, unknown>>): ServeOptions {
  const options: unknown = Value.Default(ServeOptions, { ...given });
  if (Value.Check(ServeOptions, options)) return options;

  for (const spec of serveOptionSpecs()) {
    const value = given[spec.key];
    if (value === undefined || isValid(spec.key, value)) continue;
    throw new DaxdError(
      'EINVAL',
      `${spec.flag} ${JSON.stringify(value)} is not valid: give ${spec.give ?? 'it without a value'}`,
    );
  }
  const unknown = Object.keys(given).filter((key) => !(key in ServeOptions.properties));
  throw new DaxdError(
    'EINVAL',
    `unknown options ${unknown.map((key) => optionFlag(key)).join(', ')}: see daxd serve --help`,
  );
}

function isValid(key: string, value: unknown): boolean {
  const options: unknown = Value.Default(ServeOptions, { [key]: value });
  return Value.Check(ServeOptions, options);
}

function initConfig(options: ServeOptions): InitConfig {
  return {
    required: options.init,
    mode: options.mode ?? 'fsdax',
    map: options.map ?? 'dev',
    alignBytes: ALIGN_BYTES[options.align ?? '2M'],
  };
}

/** `--mode`, `--map` and `--align` matter to `--init` alone: on attach the media decides. */
function idleOptions(options: ServeOptions): string[] {
  if (options.init || options.backing === undefined) return [];
  return (['mode', 'map', 'align'] as const)
    .filter((key) => options[key] !== undefined)
    .map((key) => `${optionFlag(key)} changes nothing without --init: the media decides on attach`);
}

function checkRelations(config: ServeConfig, options: ServeOptions): void {
  const { sizeBytes } = config;
  refuseIf(
    sizeBytes === 0,
    '--size 0 makes a file without a page: give 4K or more, with --init 16M or more',
  );
  refuseIf(
    sizeBytes !== undefined && !isAligned(sizeBytes, PAGE_SIZE),
    `--size ${options.size} is not a whole number of 4096-byte pages: give a multiple of 4K`,
  );
  refuseIf(
    config.init !== undefined && sizeBytes !== undefined && sizeBytes < INIT_SIZE_BYTES_MIN,
    `--size ${options.size} is too small to lay down a filesystem: give 16M or more`,
  );
  refuseIf(
    options.init && options.readOnly,
    '--init writes the media and --read-only forbids it: drop one of them',
  );
  refuseIf(
    options.init && options.forceRaw && config.init?.mode === 'fsdax',
    '--init writes an info block that --force-raw would ignore: drop one of them, or give --mode raw',
  );
  refuseIf(
    options.init && !['auto', 'none', INIT_PARTITION].includes(options.mount),
    `--init lays down ${INIT_PARTITION} alone, and --mount ${options.mount} is another: give auto or none`,
  );
  refuseIf(
    options.sparse && sizeBytes === undefined,
    '--sparse says how to create a file: give --size too',
  );
  refuseIf(
    config.allowHosts.length > LIMITS.allowHostsMax,
    `${config.allowHosts.length} times --allow-host: give at most ${LIMITS.allowHostsMax}`,
  );
  refuseRepeated('--listen', options.listen);
  refuseRepeated('--nbd', options.nbd);
}

function refuseRepeated(option: string, addresses: readonly string[]): void {
  refuseIf(
    addresses.length > LIMITS.listenersMax,
    `${addresses.length} times ${option}: give at most ${LIMITS.listenersMax}`,
  );
  const repeated = addresses.find((text, i) => addresses.indexOf(text) !== i);
  refuseIf(repeated !== undefined, `${option} ${repeated} is given twice: give it once`);
}

function refuseIf(condition: boolean, message: string): void {
  if (condition) throw new DaxdError('EINVAL', message);
}
