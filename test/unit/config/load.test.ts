import t from 'tap';

import { loadServeConfig } from '../../../src/config/load.js';
import { MIB } from '../../../src/lib/units.js';

t.test('loadServeConfig: without options the embedded default', async (t) => {
  const config = loadServeConfig({});
  t.match(config, {
    backing: 'daxd-data/pmem0.img',
    isDefaultBacking: true,
    sizeBytes: 256 * MIB,
    sparse: false,
    mount: 'auto',
    init: { mode: 'fsdax', map: 'dev', alignBytes: 2 * MIB },
    readOnly: false,
    persistence: 'auto',
    listen: [{ kind: 'tcp', host: '127.0.0.1', port: 8470 }],
    access: { tokenFile: undefined, tls: undefined },
    rememberedLeases: 1_000_000,
    drainTimeoutMs: 10_000,
    logLevel: 'info',
  });
  t.strictSame([config.allowHosts, config.warnings], [[], []]);
});

t.test('loadServeConfig: takes what is given', async (t) => {
  const config = loadServeConfig({
    backing: '/dev/dax0.0',
    init: true,
    map: 'mem',
    align: '1G',
    listen: ['unix:/run/daxd.sock', '[::1]:0'],
    allowHost: ['Daxd.Example'],
    drainTimeout: '500ms',
  });
  t.match(config, {
    isDefaultBacking: false,
    sizeBytes: undefined,
    init: { mode: 'fsdax', map: 'mem', alignBytes: 1024 * MIB },
    listen: [
      { kind: 'unix', path: '/run/daxd.sock' },
      { kind: 'tcp', host: '::1', port: 0 },
    ],
    allowHosts: ['daxd.example'],
    drainTimeoutMs: 500,
  });
  t.equal(loadServeConfig({ rememberedLeases: '5' }).rememberedLeases, 5);
  t.equal(loadServeConfig({ drainTimeout: '7' }).drainTimeoutMs, 7_000);
  t.equal(loadServeConfig({ drainTimeout: '2m' }).drainTimeoutMs, 120_000);
  t.equal(loadServeConfig({ backing: 'x' }).init, undefined);
});

t.test(
  'loadServeConfig: --mode, --map and --align without --init are said to change nothing',
  async (t) => {
    t.strictSame(loadServeConfig({ backing: 'x', map: 'mem' }).warnings.length, 1);
    t.match(loadServeConfig({ backing: 'x', map: 'mem' }).warnings[0], /--map .*--init/);
    t.strictSame(loadServeConfig({ backing: 'x', map: 'mem', init: true }).warnings, []);
  },
);

t.test('loadServeConfig: tokens and TLS where there is no TCP are said to be idle', async (t) => {
  const given = { tokenFile: '/etc/daxd/tokens', tlsCert: 'c', tlsKey: 'k' };
  const { access, warnings } = loadServeConfig(given);
  t.match(access, {
    tokenFile: '/etc/daxd/tokens',
    tls: { cert: 'c', key: 'k', clientCa: undefined },
  });
  t.strictSame(warnings, []);
  t.match(loadServeConfig({ ...given, listen: ['unix:/a'] }).warnings, [
    /--token-file changes nothing without TCP/,
    /TLS changes nothing without TCP/,
  ]);
});

t.test(
  'loadServeConfig: block clients that need no token where others do are warned of',
  async (t) => {
    const given = { tokenFile: '/etc/daxd/tokens', nbd: ['127.0.0.1:10809'] };
    t.match(loadServeConfig(given).warnings, {
      length: 1,
      0: /--nbd on TCP asks for no token.*unix:/,
    });
    for (const closed of [
      { ...given, nbdTlsPsk: '/etc/daxd/psk' },
      { ...given, nbdTlsCertificates: '/etc/daxd/tls' },
      { ...given, nbd: ['unix:/run/daxd/nbd'] },
      { nbd: given.nbd },
    ]) {
      t.strictSame(loadServeConfig(closed).warnings, []);
    }
  },
);

t.test('loadServeConfig: what is wrong names the option, the value and what to give', async (t) => {
  const wrong: readonly [Record<string, unknown>, RegExp][] = [
    [{ size: '12Q' }, /--size "12Q".*bytes, or a number with K, M, G or T/],
    [{ size: '0' }, /--size 0 makes a file without a page: give 4K or more/],
    [{ size: '4097' }, /--size 4097 .*multiple of 4K/],
    [{ size: '8M' }, /--size 8M is too small.*16M/],
    [{ size: '9007199254740993' }, /--size "9007199254740993" is 2\^53 bytes or more: give less/],
    [{ size: '9000T' }, /--size "9000T" is 2\^53 bytes or more/],
    [{ nbdInFlight: '9000T' }, /--nbd-in-flight "9000T" is 2\^53 bytes or more/],
    [{ backing: '' }, /--backing "".*path/],
    [{ mode: 'devdax' }, /--mode "devdax".*fsdax or raw/],
    [{ align: '3M' }, /--align "3M".*4K, 2M or 1G/],
    [{ persistence: 'maybe' }, /--persistence "maybe".*auto or none/],
    [{ logLevel: 'loud' }, /--log-level "loud"/],
    [{ rememberedLeases: '0' }, /--remembered-leases "0".*1 to 1000000/],
    [{ rememberedLeases: '1000001' }, /--remembered-leases "1000001"/],
    [{ drainTimeout: 'soon' }, /--drain-timeout "soon".*seconds/],
    [{ drainTimeout: '1441m' }, /--drain-timeout 1441m is too long: give 1440m or less/],
    [{ nbd: ['here'] }, /--nbd "here" is not an address/],
    [{ nbd: ['0.0.0.0:10809'] }, /--nbd 0\.0\.0\.0:10809 is reachable .*--nbd-tls-certificates/],
    [{ nbd: ['unix:/a', 'unix:/a'] }, /--nbd unix:\/a is given twice/],
    [{ nbdConnections: '0' }, /--nbd-connections "0".*1 to 4096/],
    [{ nbdOptions: '5000' }, /--nbd-options 5000 is not from 1 to 4096/],
    [{ nbdOptionSize: '1K' }, /--nbd-option-size 1024 is not from 8192/],
    [{ nbdInFlight: '2G' }, /--nbd-in-flight 2147483648 is not from/],
    [{ nbdHandshakeTimeout: '61m' }, /--nbd-handshake-timeout 61m is too long/],
    [{ nbdHandshakeTimeout: '0' }, /--nbd-handshake-timeout 0 is too short: give 100ms or more/],
    [{ tokenFile: '' }, /--token-file "".*a file/],
    [{ tlsCert: 'c' }, /--tls-cert and --tls-key go together/],
    [{ tlsKey: 'k' }, /--tls-cert and --tls-key go together/],
    [{ tlsClientCa: 'a' }, /--tls-client-ca needs TLS: give --tls-cert/],
    [{ tlsCert: '' }, /--tls-cert "".*a file in PEM/],
    [{ allowHost: ['a b'] }, /--allow-host .*without a port/],
    [{ listen: [] }, /--listen \[\]/],
    [{ listen: ['127.0.0.1:1', '127.0.0.1:1'] }, /given twice/],
    [{ stateDir: '' }, /--state-dir "" is not valid: give a directory/],
    [{ init: true, readOnly: true }, /--init .*--read-only/],
    [{ init: true, mount: 'data' }, /--init lays down pmem0p1 alone.*--mount data/],
    [{ backing: 'x', init: true, forceRaw: true }, /--init .*--force-raw/],
    [{ backing: 'x', sparse: true }, /--sparse .*--size/],
  ];
  for (const [given, message] of wrong) {
    t.throws(() => loadServeConfig(given), { code: 'EINVAL', message }, JSON.stringify(given));
  }
});

t.test(
  'loadServeConfig: NBD is off unless it is asked for, and remote with TLS alone',
  async (t) => {
    const { nbd: off } = loadServeConfig({});
    t.strictSame(off.addresses, []);
    t.match(off, {
      tls: { certificates: undefined, psk: undefined },
      limits: {
        connectionsMax: 64,
        handshakeTimeoutMs: 10_000,
        optionsMax: 64,
        optionBytesMax: 65_536,
        inFlightBytes: MIB,
      },
    });
    const { nbd } = loadServeConfig({ nbd: ['unix:/a', '10.0.0.1:10809'], nbdTlsPsk: '/k' });
    t.strictSame(nbd.addresses, [
      { address: { kind: 'unix', path: '/a' }, remote: false },
      { address: { kind: 'tcp', host: '10.0.0.1', port: 10_809 }, remote: true },
    ]);
  },
);

t.test('loadServeConfig: TCP beyond loopback needs TLS, and tokens or certificates', async (t) => {
  const tls = { tlsCert: 'c', tlsKey: 'k' };
  const open: readonly Record<string, unknown>[] = [{}, { tokenFile: 't' }, tls];
  for (const listen of ['0.0.0.0:8470', '[::]:8470', '10.0.0.1:80', 'example.com:80']) {
    for (const given of open) {
      const message = new RegExp(
        `--listen ${listen.replace(/[[\]]/g, '\\$&')} is reachable .*--tls`,
      );
      const options = { ...given, listen: ['127.0.0.1:0', listen] };
      t.throws(() => loadServeConfig(options), { code: 'EINVAL', message }, listen);
    }
    t.ok(loadServeConfig({ ...tls, tokenFile: 't', listen: [listen] }));
    t.ok(loadServeConfig({ ...tls, tlsClientCa: 'a', listen: [listen] }));
  }
  for (const listen of ['8470', ':8470', '127.0.0.1', '127.0.0.1:65536', '127.0.0.1:x', 'unix:']) {
    t.throws(() => loadServeConfig({ listen: [listen] }), { code: 'EINVAL' }, listen);
  }
  for (const listen of ['127.9.9.9:1', 'localhost:1', '[::1]:1']) {
    t.equal(loadServeConfig({ listen: [listen] }).listen[0]?.kind, 'tcp', listen);
  }
});
