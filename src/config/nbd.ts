import { DaxdError } from '../lib/errno.js';
import { durationMsOption } from './duration-option.js';
import { LIMITS } from './limits.js';
import { isRemote, type ListenAddress, parseListenAddress } from './listen-address.js';
import type { ServeOptions } from './schema.js';
import { sizeOption } from './size-option.js';

/** How block clients are served. */
export interface NbdConfig {
  /** Empty: not at all. */
  readonly addresses: readonly { readonly address: ListenAddress; readonly remote: boolean }[];
  readonly tls: { readonly certificates: string | undefined; readonly psk: string | undefined };
  readonly limits: {
    readonly connectionsMax: number;
    readonly handshakeTimeoutMs: number;
    readonly optionsMax: number;
    readonly optionBytesMax: number;
    readonly inFlightBytes: number;
  };
}

/**
 * What the options of NBD say.
 *
 * @throws DaxdError EINVAL naming the option, its value and what to give instead.
 */
export function loadNbdConfig(options: ServeOptions): NbdConfig {
  const addresses = options.nbd.map((text) => {
    const address = parseListenAddress(text, '--nbd');
    return { address, remote: isRemote(address) };
  });
  const tls = { certificates: options.nbdTlsCertificates, psk: options.nbdTlsPsk };
  const limits = {
    connectionsMax: Number(options.nbdConnections),
    handshakeTimeoutMs: durationMsOption('--nbd-handshake-timeout', options.nbdHandshakeTimeout, {
      leastMs: LIMITS.nbdHandshakeMsMin,
      mostMs: LIMITS.nbdHandshakeMsMax,
    }),
    optionsMax: Number(options.nbdOptions),
    optionBytesMax: sizeOption('--nbd-option-size', options.nbdOptionSize),
    inFlightBytes: sizeOption('--nbd-in-flight', options.nbdInFlight),
  };
  refuseOutside('--nbd-connections', limits.connectionsMax, 1, LIMITS.nbdCountMax);
  refuseOutside('--nbd-options', limits.optionsMax, 1, LIMITS.nbdCountMax);
  refuseOutside(
    '--nbd-option-size',
    limits.optionBytesMax,
    LIMITS.nbdOptionBytesMin,
    LIMITS.nbdOptionBytesMax,
  );
  refuseOutside(
    '--nbd-in-flight',
    limits.inFlightBytes,
    LIMITS.nbdInFlightBytesMin,
    LIMITS.nbdInFlightBytesMax,
  );
  refuseOpenDoors(options, addresses, tls);
  return { addresses, tls, limits };
}

/** What of NBD lets those in whom `--token-file` keeps out, in words for the log. */
export function nbdWarnings(
  { addresses, tls }: NbdConfig,
  tokenFile: string | undefined,
): string[] {
  const isClosed = tls.certificates !== undefined || tls.psk !== undefined;
  const isTcp = addresses.some(({ address }) => address.kind === 'tcp');
  if (tokenFile === undefined || isClosed || !isTcp) return [];
  return [
    '--nbd on TCP asks for no token: every account of this machine reads and writes what is exported; ' +
      'give --nbd-tls-psk or --nbd-tls-certificates, or listen on unix:/path',
  ];
}

function refuseOutside(option: string, value: number, least: number, most: number): void {
  if (value >= least && value <= most) return;
  throw new DaxdError('EINVAL', `${option} ${value} is not from ${least} to ${most}`);
}

/** Off loopback TLS is the only thing that tells friend from foe. */
function refuseOpenDoors(
  options: ServeOptions,
  addresses: NbdConfig['addresses'],
  tls: NbdConfig['tls'],
): void {
  if (tls.certificates !== undefined || tls.psk !== undefined) return;
  const at = addresses.findIndex(({ remote }) => remote);
  if (at < 0) return;
  throw new DaxdError(
    'EINVAL',
    `--nbd ${options.nbd[at]} is reachable from other machines: give --nbd-tls-certificates or ` +
      '--nbd-tls-psk, or listen on 127.0.0.1, [::1] or unix:/path',
  );
}
