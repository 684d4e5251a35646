import { readFileSync } from 'node:fs';

import { isBrokenPipe } from './print.js';
import { runProgram } from './program.js';
import { standardInput } from './standard-input.js';

// Stack traces of the daemon, which is loaded from here on, name lines of src.
process.setSourceMapsEnabled(true);

/** What was asked for is done, and nobody can know of it. */
const EXIT_NOT_PRINTED = 1;

const version = readVersion();

let isPrinted = true;
// Who reads the output may leave before its end: `daxd cat big | head`, `daxd | head -1`. A verb
// is told itself where it could not print; a daemon goes on.
process.stdout.on('error', (error) => {
  if (!isBrokenPipe(error)) isPrinted = false;
});

const exit = await runProgram(process.argv.slice(2), {
  standard: {
    stdin: standardInput(),
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
  },
  version,
  serve: async (config) => {
    // Only a daemon needs its modules; the other verbs start without them.
    const { runDaemon } = await import('../daemon/run-daemon.js');
    return runDaemon(config, {
      version,
      print: (line) => process.stdout.write(`${line}\n`),
      exit: (code) => process.exit(code),
    });
  },
});
process.exitCode = exit === 0 && !isPrinted ? EXIT_NOT_PRINTED : exit;

function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return /"version": "([^"]+)"/.exec(text)?.[1] ?? 'unknown';
}
