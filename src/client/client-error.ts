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

/** The name that a system call, Node or OpenSSL gave a failure; EIO where there is none. */
export function codeOf(cause: Error): string {
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
