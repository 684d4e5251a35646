/** What deploy/ ships, judged by the programs that read it: prometheus, promtool, systemd. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import t from 'tap';
import type { Test } from 'tap';

import { freePort } from '../support/free-port.js';
import { requires } from '../support/requires.js';
import { temporaryDirectory } from '../support/scratch-directory.js';
import { curl, post, startCurl, startDaxd } from './daxd.js';
import type { Daxd } from './daxd.js';

const DASHBOARD = 'deploy/grafana/page-free.json';
const SCRAPES = 'deploy/prometheus/prometheus.yml';
const RULES = 'deploy/prometheus/daxd-rules.yml';
const RULES_TEST = 'deploy/prometheus/daxd-rules.test.yml';
const UNIT = 'deploy/systemd/daxd.service';
const QUERY_TRIES_MAX = 120;
const TRY_MS = 250;

interface Target {
  readonly panel: string;
  readonly expr: string;
}

interface Panel {
  readonly title: string;
  readonly targets?: readonly { readonly expr: string }[];
}

function dashboardTargets(): Target[] {
  const { panels } = JSON.parse(readFileSync(DASHBOARD, 'utf8')) as { panels: readonly Panel[] };
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ panel: title, expr })),
  );
}

/** Debian's prometheus, with the shipped scrape config pointed at these. */
async function startPrometheus(
  t: Test,
  directory: string,
  daxdHosts: readonly string[],
): Promise<string> {
  copyFileSync(RULES, join(directory, 'daxd-rules.yml'));
  const config = readFileSync(SCRAPES, 'utf8')
    .replace("'127.0.0.1:8470'", daxdHosts.map((host) => `'${host}'`).join())
    .replace('scrape_interval: 15s', 'scrape_interval: 1s');
  writeFileSync(join(directory, 'prometheus.yml'), config);
  const listen = `127.0.0.1:${await freePort()}`;
  const child = spawn(
    'prometheus',
    [
      `--config.file=${join(directory, 'prometheus.yml')}`,
      `--storage.tsdb.path=${join(directory, 'tsdb')}`,
      `--web.listen-address=${listen}`,
    ],
    { stdio: 'ignore' },
  );
  const exited = once(child, 'exit');
  t.teardown(async () => {
    child.kill('SIGKILL');
    await exited;
  });
  return `http://${listen}`;
}

/** Lease, a truncate that waits, release, again and again until `stopped`. */
async function load(daxd: Daxd, stopped: AbortSignal): Promise<void> {
  const partition = `${daxd.url}/v1/partitions/pmem0p1`;
  const range = { path: 'file', offset: 0, length: 4096 };
  while (!stopped.aborted) {
    await curl('-X', 'PUT', '--data-binary', `@${UNIT}`, `${partition}/files/file`);
    const terms = { partition: 'pmem0p1', access: 'read', ttl_ms: 60_000 };
    const { json: lease } = await curl(...post(`${daxd.url}/v1/leases`, { ...range, ...terms }));
    const truncate = startCurl(post(`${partition}/truncate`, { path: 'file', size: 0 }));
    await delay(TRY_MS);
    await curl('-X', 'DELETE', `${daxd.url}/v1/leases/${lease.id}`);
    await truncate.answer;
  }
}

/** Block clients that write the disk and read it, again and again until `stopped`. */
async function blockLoad(uri: string, stopped: AbortSignal): Promise<void> {
  while (!stopped.aborted) {
    for (const [program, ...fromTo] of [
      ['nbdcopy', UNIT, uri],
      ['nbdcopy', uri, 'null:'],
    ] as const) {
      await once(spawn(program, fromTo, { stdio: 'ignore' }), 'exit');
    }
    await delay(TRY_MS);
  }
}

interface QueryAnswer {
  readonly data?: { readonly result: readonly { readonly value: readonly [number, string] }[] };
}

/** Whether the query has a number for an answer by now; asks again until it has. */
async function returnsData(prometheus: string, query: string): Promise<boolean> {
  for (let tries = 0; tries < QUERY_TRIES_MAX; tries++) {
    const url = `${prometheus}/api/v1/query`;
    const { json } = await curl('--get', '--data-urlencode', `query=${query}`, url);
    const { data } = (json ?? {}) as QueryAnswer;
    if (data?.result.some(({ value }) => Number.isFinite(Number(value[1]))) === true) return true;
    await delay(TRY_MS);
  }
  return false;
}

t.test('dashboard: every expression returns data', { timeout: 180_000 }, async (t) => {
  if (!requires(t, { commands: ['prometheus', 'curl', 'nbdcopy'] })) return;
  const directory = temporaryDirectory(t);
  const image = join(directory, 'pmem0.img');
  const daxd = await startDaxd(t, ['--backing', image, '--size', '64M', '--init']);
  const host = new URL(daxd.url).host;
  const socket = join(directory, 'nbd.sock');
  const disk = ['--backing', join(directory, 'disk.img'), '--size', '64M', '--mount', 'none'];
  const blocks = await startDaxd(t, [...disk, '--nbd', `unix:${socket}`]);
  const blockHost = new URL(blocks.url).host;
  const prometheus = await startPrometheus(t, directory, [host, blockHost]);

  const stop = new AbortController();
  const loaded = [load(daxd, stop.signal), blockLoad(`nbd+unix:///?socket=${socket}`, stop.signal)];
  const targets = dashboardTargets();
  t.ok(targets.length > 0, `${targets.length} expressions`);
  for (const { panel, expr } of targets) {
    const instance = expr.includes('daxd_nbd_') ? blockHost : host;
    const query = expr.replaceAll('$instance', instance).replaceAll('$__rate_interval', '5s');
    t.ok(await returnsData(prometheus, query), `${panel}: ${query}`);
  }
  stop.abort();
  await Promise.all(loaded);
  const shown = (await curl(`${blocks.url}/metrics`)).body;
  for (const name of [...namesIn(DASHBOARD), ...namesIn(RULES)]) {
    t.match(shown, new RegExp(`^# TYPE ${name} `, 'm'), `/metrics has ${name}`);
  }
  t.equal(await daxd.stop(), 0);
  t.equal(await blocks.stop(), 0);
});

/** The metrics that a file asks for, without what Prometheus adds to the names of histograms. */
function namesIn(file: string): Set<string> {
  const names = readFileSync(file, 'utf8').match(/\bdaxd_\w+/g) ?? [];
  return new Set(names.map((name) => name.replace(/_(bucket|count|sum)$/, '')));
}

t.test('dashboard and alerts: every metric in them is documented', async (t) => {
  const metrics = readFileSync('docs/reference/metrics.md', 'utf8');
  const names = [...namesIn(DASHBOARD), ...namesIn(RULES)];
  t.ok(names.length > 0, `${names.length} metrics`);
  for (const name of names) {
    t.ok(metrics.includes(`\`${name}`), `${name} is documented`);
  }
});

t.test('alerts: promtool takes them, and each fires when it should', async (t) => {
  if (!requires(t, { commands: ['promtool'] })) return;
  for (const args of [
    ['check', 'rules', RULES],
    ['test', 'rules', RULES_TEST],
  ]) {
    const { status, stdout, stderr } = spawnSync('promtool', args, { encoding: 'utf8' });
    t.equal(status, 0, stdout + stderr);
  }
  const alerts = readFileSync(RULES, 'utf8').match(/(?<=- alert: )\w+/g) ?? [];
  const tests = readFileSync(RULES_TEST, 'utf8');
  t.ok(alerts.length > 0);
  for (const alert of alerts) {
    t.match(tests, new RegExp(`alertname: ${alert}\n *exp_alerts:\n`), `${alert} fires in a test`);
  }
});

/** The example for HTTPS, as it is once its comment signs are taken away. */
function httpsConfig(): string {
  return readFileSync(SCRAPES, 'utf8').replace(/# - job_name: daxd-https[^]*/, (example) =>
    example.replaceAll(/^ {2}# /gm, '  ').replace(/^# /, ''),
  );
}

t.test('scrape config: promtool takes it', async (t) => {
  if (!requires(t, { commands: ['promtool'] })) return;
  const { status, stdout, stderr } = spawnSync('promtool', ['check', 'config', SCRAPES], {
    encoding: 'utf8',
  });
  t.equal(status, 0, stdout + stderr);
  const directory = t.testdir({ 'https.yml': httpsConfig() });
  copyFileSync(RULES, join(directory, 'daxd-rules.yml'));
  // The files that it names are elsewhere, so the syntax alone.
  const https = ['check', 'config', '--syntax-only', join(directory, 'https.yml')];
  const judged = spawnSync('promtool', https, { encoding: 'utf8' });
  t.match(httpsConfig(), /^ {2}- job_name: daxd-https\n {4}scheme: https$/m);
  t.equal(judged.status, 0, judged.stdout + judged.stderr);
});

t.test('systemd unit: systemd-analyze finds nothing to say', async (t) => {
  if (!requires(t, { commands: ['systemd-analyze'] })) return;
  const unit = join(t.testdir({}), 'daxd.service');
  // The program is installed by a package; what is checked is the rest.
  writeFileSync(unit, readFileSync(UNIT, 'utf8').replace('/usr/bin/daxd', '/usr/bin/env'));
  const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', unit], {
    encoding: 'utf8',
  });
  const said = (stdout + stderr).split('\n').filter((line) => line.includes('daxd.service'));
  t.strictSame(said, []);
  t.equal(status, 0, stdout + stderr);
});
