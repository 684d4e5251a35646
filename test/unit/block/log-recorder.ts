import type { LogFields, Logger } from '../../../src/lib/logger.js';

/** A logger that keeps its warnings. */
export class WarningRecorder implements Logger {
  readonly warnings: { readonly fields: LogFields; readonly message: string }[] = [];

  debug(): void {}
  info(): void {}
  error(): void {}
  warn(fields: LogFields, message: string): void {
    this.warnings.push({ fields, message });
  }
}
