import type { Call } from "./call.js";
import { ClientError } from "./errors.js";

/** A request, or, without a call, a notify. */
export interface Message {
  readonly route: string;
  readonly body: Uint8Array;
  readonly call?: Call;
}

/** What a message counts for beside its bytes. */
const OVERHEAD = 100;

/** What waits for the next connection. */
export class Outbox {
  readonly #maxRequests: number;
  readonly #maxBytes: number;
  readonly #messages = new Set<Message>();
  #requests = 0;
  #bytes = 0;

  constructor(maxRequests: number, maxBytes: number) {
    this.#maxRequests = maxRequests;
    this.#maxBytes = maxBytes;
  }

  put(message: Message): void {
    if (message.call && this.#requests >= this.#maxRequests) {
      throw new ClientError("full", "too many requests wait for a connection: see `maxRequests`");
    }
    if (this.#bytes >= this.#maxBytes) {
      throw new ClientError("full", "too many bytes wait for a connection: see `maxQueuedBytes`");
    }
    this.#messages.add(message);
    this.#count(message, 1);
  }

  delete(message: Message): void {
    if (this.#messages.delete(message)) this.#count(message, -1);
  }

  take(): Message[] {
    const all = [...this.#messages];
    this.#messages.clear();
    this.#requests = this.#bytes = 0;
    return all;
  }

  #count({ body, call }: Message, sign: 1 | -1): void {
    this.#requests += call ? sign : 0;
    this.#bytes += sign * (body.length + OVERHEAD);
  }
}
