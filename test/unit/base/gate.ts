/** A promise that a test settles when it wants to. */
export class Gate {
  readonly passed: Promise<void>;
  #open: () => void = () => {};
  #fail: (cause: Error) => void = () => {};

  constructor() {
    this.passed = new Promise((resolve, reject) => {
      this.#open = resolve;
      this.#fail = reject;
    });
  }

  open(): void {
    this.#open();
  }

  fail(cause: Error): void {
    this.#fail(cause);
  }
}
