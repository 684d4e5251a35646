import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

import ts from 'typescript';

/** A change of the product that makes it wrong. */
export interface Mutation {
  readonly file: string;
  /** Stands exactly once in the file. */
  readonly text: string;
  readonly instead: string;
}

/** Workloads that a mutant is put to. */
export type PowerCutWorkload = 'scripted' | 'revoke' | 'restart' | 'mount';

/** What {@link Mutants.run} runs. */
export interface RunOptions {
  readonly workload: PowerCutWorkload;
  readonly seed: number;
  readonly mutations: readonly Mutation[];
  /** Looks at one place of the log in so many; 1 by default. */
  readonly oneIn?: number | undefined;
}

/** What a run of the power cuts over a mutant came to. */
export interface MutantRun {
  readonly cutPoints: number;
  readonly failures: readonly string[];
  /** What went wrong outside of the cuts. */
  readonly error?: string;
}

const ROOT = process.cwd();
/** What the power cuts are made of, beside the product. */
const SUPPORT = 'test/support';
const CHILD = 'test/support/power-cut/power-cut-child.js';

/**
 * The product and the power cuts as JavaScript in a directory of their own, to be made wrong
 * there: the product has no options for it.
 */
export class Mutants {
  readonly #directory: string;
  #count = 0;

  constructor(directory: string) {
    this.#directory = directory;
    for (const file of sourceFiles()) this.#transpile(file, readFileSync(file, 'utf8'), 'right');
    writeFileSync(join(directory, 'right', 'package.json'), '{"type":"module"}');
    symlinkSync(join(ROOT, 'node_modules'), join(directory, 'right', 'node_modules'));
  }

  /** Runs the power cuts over the product as it is, or made wrong by `mutations`. */
  async run({ workload, seed, mutations, oneIn = 1 }: RunOptions): Promise<MutantRun> {
    const name = `mutant ${this.#count++}`;
    cpSync(join(this.#directory, 'right'), join(this.#directory, name), {
      recursive: true,
      verbatimSymlinks: true,
    });
    const sources = new Map<string, string>();
    for (const mutation of mutations) {
      const source = sources.get(mutation.file) ?? readFileSync(mutation.file, 'utf8');
      sources.set(mutation.file, mutate(source, mutation));
    }
    for (const [file, source] of sources) this.#transpile(file, source, name);
    return await runChild(join(this.#directory, name), [
      workload,
      String(seed),
      this.#directory,
      String(oneIn),
    ]);
  }

  #transpile(file: string, source: string, name: string): void {
    const { outputText } = ts.transpileModule(source, {
      compilerOptions: {
        target: ts.ScriptTarget.ES2023,
        module: ts.ModuleKind.ESNext,
        verbatimModuleSyntax: true,
      },
    });
    const path = join(this.#directory, name, relative(ROOT, file)).replace(/\.ts$/, '.js');
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, outputText);
  }
}

function sourceFiles(): string[] {
  const files = ['src', SUPPORT].flatMap((dir) => ts.sys.readDirectory(join(ROOT, dir), ['.ts']));
  return files.filter((file) => !file.endsWith('.d.ts'));
}

function mutate(source: string, { file, text, instead }: Mutation): string {
  const parts = source.split(text);
  if (parts.length !== 2) {
    throw new Error(`${file} holds ${JSON.stringify(text)} ${parts.length - 1} times, not once`);
  }
  return parts.join(instead);
}

async function runChild(cwd: string, args: readonly string[]): Promise<MutantRun> {
  const child = spawn(process.execPath, [CHILD, ...args], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  await new Promise((resolve) => {
    child.once('close', resolve);
  });
  const last = output.trimEnd().split('\n').at(-1) ?? '';
  if (!last.startsWith('{')) return { cutPoints: 0, failures: [], error: `${output}${errors}` };
  return JSON.parse(last) as MutantRun;
}
