import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import t from 'tap';
import type { Test } from 'tap';

import { digestOf } from '../../../src/http/callers.js';
import { loadTokens } from '../../../src/http/token-file.js';
import { temporaryDirectory } from '../../support/scratch-directory.js';

const ONE = 'a1'.repeat(32);
const TWO = 'b2'.repeat(32);

/** One of many lines. */
function line(i: number): string {
  return `n${i} read ${String(i).padStart(32, '0')}\n`;
}

function tokenFile(t: Test, text: string, mode = 0o600): string {
  const path = join(temporaryDirectory(t), 'tokens');
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

t.test('loadTokens: names, scopes and digests, in the order of the file', async (t) => {
  const text = `# who may call\n\nprometheus read ${ONE}\n  rack-7  lease,read\t${TWO}==  \n`;
  const tokens = await loadTokens(tokenFile(t, `${text}root admin ${TWO}`));
  t.strictSame(
    tokens.map(({ name, scopes }) => [name, [...scopes]]),
    [
      ['prometheus', ['read']],
      ['rack-7', ['lease', 'read']],
      ['root', ['read', 'write', 'lease', 'admin']],
    ],
  );
  t.strictSame(tokens[0]?.digest, digestOf(ONE));
  t.notMatch(JSON.stringify(tokens), ONE, 'the token is not kept');
  t.equal((await loadTokens(tokenFile(t, `a read ${ONE}\r\nb read ${TWO}\r\n`))).length, 2);
});

t.test('loadTokens: a damaged line is named by its number and not shown', async (t) => {
  const wrong: readonly [string, RegExp][] = [
    [ONE, /line 3 is not NAME SCOPES TOKEN/],
    [`a read`, /line 3 is not NAME SCOPES TOKEN/],
    [`a read ${ONE} more`, /line 3 is not NAME SCOPES TOKEN/],
    [`a read,${ONE} ${TWO}`, /line 3 names another scope than read, write, lease, admin/],
    [`${ONE} read ${TWO}1234567`, /line 3 has the name or the token/],
    [`a,b read ${ONE}`, /line 3 begins with no name/],
    [`a read, ${ONE}`, /line 3 names another scope/],
    [`a Read ${ONE}`, /line 3 names another scope/],
    [`a read ${ONE.slice(0, 15)}`, /line 3 ends in no token/],
    [`a read ${'a1'.repeat(257)}`, /line 3 ends in no token/],
    [`a read ${ONE}:`, /line 3 ends in no token/],
    [`b read ${TWO}`, /line 3 has the name or the token of an earlier line/],
    [`c admin ${TWO.slice(0, 62)}b2`, /line 3 has the name or the token of an earlier line/],
  ];
  for (const [line, message] of wrong) {
    const path = tokenFile(t, `${ONE} read ${TWO}9\nb read ${TWO}\n${line}\n`);
    await t.rejects(loadTokens(path), { code: 'EINVAL', message }, line);
    const error: unknown = await loadTokens(path).catch((reason: unknown) => reason);
    t.notMatch(String(error), /a1a1|b2b2/, 'no token is shown');
  }
});

t.test('loadTokens: without a token, or with too many, it is refused', async (t) => {
  for (const text of ['', '\n\n', '# only words\n']) {
    const refused = { code: 'EINVAL', message: /holds no token.*openssl rand -hex 32/ };
    await t.rejects(loadTokens(tokenFile(t, text)), refused);
  }
  const most = Array.from({ length: 1024 }, (_, i) => line(i)).join('');
  t.equal((await loadTokens(tokenFile(t, most))).length, 1024);
  await t.rejects(loadTokens(tokenFile(t, most + line(1024))), { message: /more than 1024/ });
});

t.test('loadTokens: a file that others may read or write is refused, with the cure', async (t) => {
  const text = `a read ${ONE}\n`;
  for (const mode of [0o604, 0o602, 0o644, 0o666]) {
    const path = tokenFile(t, text, mode);
    const shown = `0${mode.toString(8)}`;
    const message = new RegExp(`mode ${shown}.*chmod o= ${path}`);
    await t.rejects(loadTokens(path), { code: 'EINVAL', message }, shown);
    chmodSync(path, mode & 0o770);
    t.equal((await loadTokens(path)).length, 1, 'the cure helps');
  }
  const absent = {
    code: 'ENOENT',
    message: '--token-file /nowhere/tokens is not there: name one that is',
  };
  await t.rejects(loadTokens('/nowhere/tokens'), absent);
});
