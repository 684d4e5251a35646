/** What a log line carries beside its message: ids, paths, numbers. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Where a layer reports what an operator should see. The daemon hands one in. */
export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
}

/** Drops everything. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} };
