import { ClientError } from "./errors.js";

export interface RequestOptions {
  /** How long it may take, in milliseconds, instead of the client's own limit. */
  readonly timeout?: number;
  /** Gives it up: the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** A request that waits for its one end: an answer, an error, its timeout, its signal, or the connection's end. */
export class Call {
  readonly route: string;
  readonly answer: Promise<unknown>;
  /** When it was sent. */
  since = performance.now();
  /** What whoever keeps it has to do when it ends. */
  forget: () => void = () => {};
  readonly #signal: AbortSignal | undefined;
  readonly #abort = (): void => this.reject(this.#signal?.reason);
  readonly #timer: ReturnType<typeof setTimeout> | undefined;
  #resolve!: (value: unknown) => void;
  #reject!: (error: unknown) => void;

  constructor(route: string, timeout: number, signal: AbortSignal | undefined) {
    this.route = route;
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // A timer takes no more; 24 days are forever.
    if (timeout < 2 ** 31) {
      const late = new ClientError("timeout", `no answer to ${route} within ${timeout} ms`);
      this.#timer = setTimeout(() => this.reject(late), timeout);
    }
    this.#signal = signal;
    signal?.addEventListener("abort", this.#abort);
  }

  resolve(value: unknown): void {
    this.#end();
    this.#resolve(value);
  }

  reject(error: unknown): void {
    this.#end();
    this.#reject(error);
  }

  #end(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#abort);
    this.forget();
  }
}
