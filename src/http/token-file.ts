import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

import { DaxdError } from '../lib/errno.js';
import { unreadable } from '../lib/option-file.js';
import { digestOf } from './callers.js';
import type { Token } from './callers.js';
import { SCOPES, expandScopes } from './scope.js';
import type { Scope } from './scope.js';

const TOKENS_MAX = 1024;
/** Permissions of others to read and to write. */
const OTHERS_MODE = 0o006;
const NAME = /^[A-Za-z0-9._@-]{1,64}$/;
/** What RFC 6750 lets a header carry; 16 characters are the least that nobody guesses. */
const TOKEN = /^[A-Za-z0-9._~+/-]{16,512}={0,2}$/;
const ADVICE = 'make a token with openssl rand -hex 32';

/** A line of the file, for messages: they never show what stands on it. */
interface Place {
  readonly path: string;
  readonly line: number;
}

/**
 * Reads the tokens that callers may send, once, at start. Each line holds a name, scopes with
 * commas between, and the token; empty lines and those that begin with # say nothing.
 *
 * @throws DaxdError ENOENT, EACCES when it cannot be read; EINVAL when others may read or write it,
 *   it holds no token, or naming the line that is damaged or says what an earlier one does.
 */
export async function loadTokens(path: string): Promise<readonly Token[]> {
  const tokens: Token[] = [];
  const lines = (await readSecretFile(path)).split('\n');
  for (const [i, text] of lines.entries()) {
    if (text.trim() === '' || text.startsWith('#')) continue;
    tokens.push(tokenOf(text, { path, line: i + 1 }, tokens));
    if (tokens.length > TOKENS_MAX) {
      throw invalid(`--token-file ${path} holds more than ${TOKENS_MAX} tokens: drop some`);
    }
  }
  if (tokens.length > 0) return tokens;
  throw invalid(`--token-file ${path} holds no token: write lines NAME SCOPES TOKEN; ${ADVICE}`);
}

async function readSecretFile(path: string): Promise<string> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    refuseOpenToAll(path, (await file.stat()).mode);
    return await file.readFile('utf8');
  } catch (cause) {
    if (cause instanceof DaxdError) throw cause;
    throw unreadable(`--token-file ${path}`, cause);
  } finally {
    await file?.close();
  }
}

function refuseOpenToAll(path: string, mode: number): void {
  if ((mode & OTHERS_MODE) === 0) return;
  const shown = (mode & 0o7777).toString(8).padStart(4, '0');
  throw invalid(
    `--token-file ${path} is open to every user (mode ${shown}): chmod o= ${path}, and make new ` +
      'tokens if anyone may have read it',
  );
}

function tokenOf(text: string, place: Place, before: readonly Token[]): Token {
  const [name = '', scopes = '', token = '', ...rest] = text.trim().split(/\s+/);
  if (rest.length > 0 || token === '') throw damaged(place, 'is not NAME SCOPES TOKEN');
  if (!NAME.test(name)) {
    throw damaged(place, 'begins with no name: give up to 64 letters, digits and any of . _ @ -');
  }
  const known = scopes.split(',').filter(isScope);
  if (known.length < scopes.split(',').length) {
    throw damaged(place, `names another scope than ${SCOPES.join(', ')}, with commas between`);
  }
  if (!TOKEN.test(token)) {
    throw damaged(place, `ends in no token of 16 to 512 letters and digits: ${ADVICE}`);
  }
  const digest = digestOf(token);
  if (before.some((other) => other.name === name || Buffer.compare(other.digest, digest) === 0)) {
    throw damaged(place, 'has the name or the token of an earlier line: each stands there once');
  }
  return { name, scopes: expandScopes(known), digest };
}

function isScope(word: string): word is Scope {
  return SCOPES.some((scope) => scope === word);
}

function damaged({ path, line }: Place, what: string): DaxdError {
  return invalid(`--token-file ${path}: line ${line} ${what}`);
}

function invalid(message: string): DaxdError {
  return new DaxdError('EINVAL', message);
}
