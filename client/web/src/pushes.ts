/** The pushes of a route, one after the other: `for await (const body of client.pushes("onChat"))`. */
export class Pushes<T> implements AsyncIterableIterator<T> {
  readonly #limit: number;
  readonly #stop: (pushes: Pushes<T>) => void;
  readonly #waiting: T[] = [];
  readonly #readers: ((result: IteratorResult<T, undefined>) => void)[] = [];
  #dropped = 0;
  #ended = false;

  /** @internal */
  constructor(limit: number, stop: (pushes: Pushes<T>) => void) {
    this.#limit = limit;
    this.#stop = stop;
  }

  /** How many pushes were dropped because as many as allowed waited already: the oldest go first. */
  get dropped(): number {
    return this.#dropped;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#waiting.length) return Promise.resolve({ done: false, value: this.#waiting.shift() as T });
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => this.#readers.push(resolve));
  }

  /** Gets no more pushes. `for await` calls it when the loop is left. */
  return(): Promise<IteratorResult<T, undefined>> {
    this.#waiting.length = 0;
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** @internal */
  put(value: T): void {
    const reader = this.#readers.shift();
    if (reader) return reader({ done: false, value });
    this.#waiting.push(value);
    if (this.#waiting.length <= this.#limit) return;
    this.#waiting.shift();
    this.#dropped++;
  }

  /** @internal What waits can still be read. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stop(this);
    for (const reader of this.#readers.splice(0)) reader({ done: true, value: undefined });
  }
}
