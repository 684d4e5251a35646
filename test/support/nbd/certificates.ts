import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';

import { runJudge } from '../ext4-image.js';

/** Days for which a certificate holds: a test needs less. */
const EXPIRATION_DAYS = 2;

/** Makes a CA, and a server's and a client's certificate of it, under the names that NBD uses. */
export function makeCertificates(directory: string): string {
  mkdirSync(directory);
  certify(directory, 'ca', ['ca', 'cert_signing_key']);
  certify(directory, 'server', [
    'tls_www_server',
    'dns_name = localhost',
    'ip_address = 127.0.0.1',
  ]);
  certify(directory, 'client', ['tls_www_client']);
  return directory;
}

/** What a client in Node needs to show its certificate and to check the server's. */
export function clientCertificate(directory: string): ConnectionOptions {
  const read = (name: string): Buffer => readFileSync(join(directory, name));
  return {
    ca: read('ca-cert.pem'),
    cert: read('client-cert.pem'),
    key: read('client-key.pem'),
    servername: 'localhost',
  };
}

/** Makes the key of a user, as psktool does, and gives its file. */
export function makePsk(directory: string, user: string): string {
  mkdirSync(directory);
  const path = join(directory, 'keys.psk');
  mustRun('psktool', '-u', user, '-p', path);
  return path;
}

/** Makes a key and its certificate; that of the CA is signed by itself. */
function certify(directory: string, name: string, template: readonly string[]): void {
  const path = (suffix: string): string => join(directory, suffix);
  const info = path(`${name}.info`);
  const lines = [`cn = "${name}"`, `expiration_days = ${EXPIRATION_DAYS}`, ...template];
  writeFileSync(info, `${lines.join('\n')}\n`);
  const key = path(`${name}-key.pem`);
  mustRun('certtool', '--generate-privkey', '--key-type=ecdsa', '--outfile', key);
  const own = ['--load-privkey', key, '--template', info, '--outfile', path(`${name}-cert.pem`)];
  const ca = [
    '--load-ca-certificate',
    path('ca-cert.pem'),
    '--load-ca-privkey',
    path('ca-key.pem'),
  ];
  if (name === 'ca') mustRun('certtool', '--generate-self-signed', ...own);
  else mustRun('certtool', '--generate-certificate', ...ca, ...own);
}

function mustRun(command: string, ...args: string[]): void {
  const { status, output } = runJudge(command, args);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${output}`);
}
