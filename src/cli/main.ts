import { readFileSync } from 'node:fs';

import { isBrokenPipe, runProgram } from './program.js';

// Stack traces of the daemon, which is loaded from here on, name lines of src.
process.setSourceMapsEnabled(true);

const version = readVersion();

// Who reads the output may leave before its end: `daxd cat big | head`, `daxd | head -1`.
process.stdout.on('error', (error) => {
  if (!isBrokenPipe(error)) throw error;
});

process.exitCode = await runProgram(process.argv.slice(2), {
  standard: {
    stdin: process.stdin,
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

function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return /"version": "([^"]+)"/.exec(text)?.[1] ?? 'unknown';
}
