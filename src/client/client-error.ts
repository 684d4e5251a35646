import { parsedJson } from '../lib/json.js';

/** The body of a refusal, as daxd sends it (RFC 9457). */
export interface Problem {
  readonly code: string;
  readonly status: number;
  readonly detail: string;
  /** Ids of the leases in the way. */
  readonly holders?: readonly string[];
}

/**
 * A call that failed. `code` is that of the problem which daxd sent, such as `EBUSY` or
 * `recall-conflict`; where none came, that of the system, such as `ECONNREFUSED`.
 */
export class ClientError extends Error {
  override readonly name = 'ClientError';
  readonly code: string;
  /** Of the answer; undefined where none came. */
  readonly status: number | undefined;
  readonly problem: Problem | undefined;

  constructor(
    code: string,
    message: string,
    { status, problem, cause }: Partial<Pick<ClientError, 'status' | 'problem' | 'cause'>> = {},
  ) {
    super(message, { cause });
    this.code = code;
    this.status = status;
    this.problem = problem;
  }

  /** Whether what was asked about is not there, now or ever again. */
  get isGone(): boolean {
    return this.status === 404 || this.status === 410;
  }

  /** Whether the same call may do better later: daxd was not reached, or could not answer. */
  get isPassing(): boolean {
    return this.status === undefined || this.status >= 500 || this.status === 429;
  }
}

/** The refusal that an answer is. */
export function refusal(status: number, text: string): ClientError {
  const problem = parseProblem(text);
  if (problem === undefined) return new ClientError('EIO', `daxd answered ${status}`, { status });
  return new ClientError(problem.code, problem.detail, { status, problem });
}

/** The failure to get an answer at all. */
export function unreachable(url: string, cause: Error): ClientError {
  return new ClientError(codeOf(cause), `no daemon answers at ${url}: ${cause.message}`, { cause });
}

/** The end of a connection over TLS that showed no certificate, where it looks like a refusal. */
export function uncertified(url: string, cause: Error): ClientError | undefined {
  const code = codeOf(cause);
  // An alert of TLS 1.3 comes behind the handshake, and may be lost where a request follows it.
  if (!/^(ERR_SSL_|ECONNRESET$|EPIPE$)/.test(code)) return undefined;
  const message = `${url} ended the connection: it may want a certificate, give one with its key (${cause.message})`;
  return new ClientError(code, message, { cause });
}

function codeOf(cause: Error): string {
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : 'EIO';
}

function parseProblem(text: string): Problem | undefined {
  // What is cut off, or from something between here and the daemon, is none: the status has to do.
  const body = parsedJson(text);
  return isProblem(body) ? body : undefined;
}

function isProblem(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'code' in body && 'detail' in body;
}
