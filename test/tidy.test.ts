/**
 * Checks of the source text that no linter knows: they run as a test, so that a breach
 * fails like any other.
 */
import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import ts from 'typescript';

import { optionFlag, ServeOptions } from '../src/config/schema.js';
import { problemFor } from '../src/http/problem.js';
import { DaxdError, ERROR_CODES } from '../src/lib/errno.js';
import { PLACES } from './e2e/mutant.js';
import { CONTROLS } from './support/power-cut/controls.js';

const FILES = ts.sys.readDirectory('src', ['.ts']);
const TESTS = ts.sys.readDirectory('test', ['.ts']);
const FILE_LINES_MAX = 500;

/** What a function marked `@hot` may not do, and what to do instead. */
const BANNED_WHEN_HOT = new Map<ts.SyntaxKind, string>([
  [ts.SyntaxKind.AwaitExpression, 'split off the part that waits'],
  [ts.SyntaxKind.ArrowFunction, 'hoist the function'],
  [ts.SyntaxKind.SpreadElement, 'loop'],
  [ts.SyntaxKind.ObjectLiteralExpression, 'reuse an object'],
  [ts.SyntaxKind.BigIntLiteral, 'use a number below 2 ** 53'],
]);

function parse(file: string): ts.SourceFile {
  return ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true);
}

function isExported(node: ts.Node): boolean {
  return (
    ts.canHaveModifiers(node) &&
    (ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) ?? false)
  );
}

function isMatch({ expression }: ts.CallExpression): boolean {
  return ts.isPropertyAccessExpression(expression) && expression.getText() === 't.match';
}

/** Constants whose name and unit say it all need no sentence. */
function needsSentence(node: ts.Statement): boolean {
  return isExported(node) && !ts.isVariableStatement(node);
}

t.test('functions marked @hot allocate nothing and wait for nothing', async (t) => {
  let hotFunctions = 0;
  for (const file of FILES) {
    const visit = (node: ts.Node, hot: boolean): void => {
      const marked = ts.getJSDocTags(node).some((tag) => tag.tagName.text === 'hot');
      if (marked) hotFunctions++;
      const isHot = hot || marked;
      const advice = isHot ? BANNED_WHEN_HOT.get(node.kind) : undefined;
      if (advice !== undefined) t.fail(`${file}: ${node.getText()} in a @hot function: ${advice}`);
      ts.forEachChild(node, (child) => {
        visit(child, isHot);
      });
    };
    visit(parse(file), false);
  }
  t.ok(hotFunctions > 0, `${hotFunctions} hot functions`);
});

t.test('every exported function, class and type has its sentence', async (t) => {
  for (const file of FILES) {
    for (const statement of parse(file).statements) {
      if (!needsSentence(statement) || ts.isExportDeclaration(statement)) continue;
      const documented = ts.getJSDocCommentsAndTags(statement).some(ts.isJSDoc);
      t.ok(documented, `${file}: ${statement.getText().split('\n')[0]}`);
    }
  }
});

t.test('every kernel name that the source claims stands in the table, and none else', async (t) => {
  const rows = readFileSync('docs/reference/kernel-names.md', 'utf8')
    .split('\n')
    .filter((line) => line.includes('`src/'));
  let claims = 0;
  for (const file of FILES) {
    for (const [, claim = ''] of readFileSync(file, 'utf8').matchAll(/@kernel (\S+(?: \w+)?)/g)) {
      claims++;
      const name = /\w+/.exec(claim.replace(/^(struct|enum) /, ''))?.[0] ?? claim;
      t.ok(
        rows.some((row) => row.includes(`\`${file}\``) && row.includes(name)),
        `${name} of ${file} is in the table`,
      );
    }
  }
  t.equal(rows.length, claims, 'the table has a row a claim');
  for (const row of rows) {
    const file = /`(src\/[^`]+)`/.exec(row)?.[1] ?? row;
    t.ok(existsSync(file), `${file} of the table exists`);
  }
});

t.test('every option of serve and every metric is documented', async (t) => {
  const commandLine = readFileSync('docs/reference/command-line.md', 'utf8');
  for (const key of Object.keys(ServeOptions.properties)) {
    const option = optionFlag(key);
    t.ok(commandLine.includes(`\`${option}`), `${option} is in docs/reference/command-line.md`);
  }
  const metrics = readFileSync('docs/reference/metrics.md', 'utf8');
  const names = FILES.filter((file) => file.startsWith('src/telemetry/')).flatMap(
    (file) => readFileSync(file, 'utf8').match(/daxd_[a-z_]+/g) ?? [],
  );
  t.ok(names.length > 10, `${names.length} metrics`);
  for (const name of names) t.ok(metrics.includes(name), `${name} is in docs/reference/metrics.md`);
});

t.test('every code of a problem is documented at its status', async (t) => {
  const rows = readFileSync('docs/reference/http-api.md', 'utf8').split('\n');
  for (const code of ERROR_CODES) {
    const { status } = problemFor(new DaxdError(code, 'why'), '/');
    const row = rows.find((line) => line.startsWith(`| ${status} `)) ?? '';
    t.match(row, new RegExp(`\\b${code}\\b`), code);
  }
});

t.test('every command of npm that a document names is there', async (t) => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: object };
  const documents = ['README.md', 'CONTRIBUTING.md', ...ts.sys.readDirectory('docs', ['.md'])];
  const named = documents.flatMap((file) => [
    ...readFileSync(file, 'utf8').matchAll(/npm run ([\w:-]+)(?: -- ([a-z][\w-]*))?/g),
  ]);
  t.ok(named.length > 10, `${named.length} commands`);
  for (const [command, script = '', bench] of named) {
    t.ok(script in scripts, command);
    if (bench !== undefined) t.ok(existsSync(`test/bench/${bench}.bench.ts`), command);
  }
});

t.test('no file outgrows a head', async (t) => {
  for (const file of FILES) {
    const lines = readFileSync(file, 'utf8').split('\n').length;
    t.ok(lines <= FILE_LINES_MAX, `${file}: ${lines} lines`);
  }
});

t.test('no work is left behind as a note in the source', async (t) => {
  for (const file of FILES) {
    t.notMatch(readFileSync(file, 'utf8'), /\b(FIXME|TODO|XXX|HACK)\b/, file);
  }
});

t.test('every text that a negative control changes stands once in its source', async (t) => {
  const built = Object.values(PLACES).map(({ file, text }) => {
    return { file: `src/${file.replace(/\.js$/, '.ts')}`, text };
  });
  for (const { file, text } of [...built, ...CONTROLS.flatMap(({ mutations }) => mutations)]) {
    t.equal(readFileSync(file, 'utf8').split(text).length - 1, 1, `${file}: ${text}`);
  }
});

t.test('no pattern of t.match holds [], which matches every array', async (t) => {
  let patterns = 0;
  for (const file of TESTS) {
    const visit = (node: ts.Node, inPattern: boolean): void => {
      if (inPattern && ts.isArrayLiteralExpression(node) && node.elements.length === 0) {
        t.fail(`${file}: ${node.parent.getText()} in a pattern: use t.strictSame`);
      }
      const pattern = ts.isCallExpression(node) && isMatch(node) ? node.arguments[1] : undefined;
      if (pattern !== undefined) patterns++;
      ts.forEachChild(node, (child) => {
        visit(child, inPattern || child === pattern);
      });
    };
    visit(parse(file), false);
  }
  t.ok(patterns > 0, `${patterns} patterns`);
});
