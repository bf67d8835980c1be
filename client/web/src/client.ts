import { Call, type RequestOptions } from "./call.js";
import { decodeError, json } from "./codec.js";
import { Connection } from "./connection.js";
import { ClientError, ServerError, errorOf, type EndCode, type Ending } from "./errors.js";
import { load } from "./module.js";
import { defaults, delayOf, type Options, type Settings } from "./options.js";
import { Outbox, type Message } from "./outbox.js";
import { Pushes } from "./pushes.js";

export type State = "connecting" | "open" | "away" | "closed";

/** What the client is doing. */
export type Status =
  | { readonly state: "connecting" }
  /** Messages may go both ways. */
  | { readonly state: "open" }
  /** The connection was lost; the next attempt is made in so many milliseconds. */
  | { readonly state: "away"; readonly reason: Ending; readonly retryIn: number }
  /** No attempt is made any more, unless by `reconnect`. */
  | { readonly state: "closed"; readonly reason: Ending };

type Handler = (body: any, route: string) => void;

/** After these nobody is to come back by himself. */
const FINAL: ReadonlySet<EndCode> = new Set(["refused", "kicked", "invalid", "closed"]);
/** The shortest of so many round trips counts. */
const MAX_ROUND_TRIPS = 8;

/** A client of one server. It connects when it is made, and comes back when the connection is lost. */
export class Client {
  readonly #url: string;
  readonly #options: Settings;
  readonly #statusListeners = new Set<(status: Status) => void>();
  readonly #handlers = new Map<string, Set<Handler>>();
  readonly #iterators = new Set<Pushes<any>>();
  /** By the ids of the connection that there is. */
  readonly #inFlight = new Map<number, Call>();
  readonly #outbox: Outbox;
  #status: Status = { state: "connecting" };
  #connection: Connection | undefined;
  /** The attempt that counts: what others still tell is nobody's business. */
  #attempt = 0;
  /** How many attempts in a row came to nothing. */
  #failures = 0;
  #delay = 0;
  #openSince = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #serializer = "json";
  #roundTrips: number[] = [];

  constructor(url: string | URL, options: Options = {}) {
    this.#url = String(url);
    this.#options = { ...defaults, ...options };
    this.#outbox = new Outbox(this.#options.maxRequests, this.#options.maxQueuedBytes);
    options.signal?.addEventListener("abort", () => this.close(), { once: true });
    if (options.signal?.aborted) this.close();
    else void this.#connect();
  }

  get state(): State {
    return this.#status.state;
  }

  get status(): Status {
    return this.#status;
  }

  /** The name of the server's serializer, such as `json` or `protobuf`. */
  get serializer(): string {
    return this.#serializer;
  }

  /** The shortest of the last eight round trips of requests, their handlers included, in milliseconds. */
  get roundTrip(): number | undefined {
    return this.#roundTrips.length ? Math.min(...this.#roundTrips) : undefined;
  }

  /** Calls `listener` whenever the status changes, until the function that is returned is called. */
  onStatus(listener: (status: Status) => void): () => void {
    const own = (status: Status): void => listener(status);
    this.#statusListeners.add(own);
    return () => void this.#statusListeners.delete(own);
  }

  /** Calls `handler` with each push of a route, until the function that is returned is called. */
  on<T = any>(route: string, handler: (body: T, route: string) => void): () => void {
    const own: Handler = (body, from) => handler(body, from);
    const handlers = this.#handlers.get(route) ?? new Set();
    this.#handlers.set(route, handlers.add(own));
    return () => {
      handlers.delete(own);
      if (!handlers.size && this.#handlers.get(route) === handlers) this.#handlers.delete(route);
    };
  }

  /**
   * The pushes of a route from now on. At most `limit` of them wait to be read, the oldest are dropped; default: 64.
   * They end when the client is closed, but not when it is away.
   */
  pushes<T = any>(route: string, { limit = 64 }: { readonly limit?: number } = {}): Pushes<T> {
    const off = this.on<T>(route, (body) => pushes.put(body));
    const pushes = new Pushes<T>(limit, (ended) => {
      off();
      this.#iterators.delete(ended);
    });
    this.#iterators.add(pushes);
    if (this.state === "closed") pushes.end();
    return pushes;
  }

  /** Resolves to the answer; rejects with a `ServerError`, a `ClientError`, or what the signal or the codec says. */
  async request<T = any>(route: string, body?: unknown, { timeout, signal }: RequestOptions = {}): Promise<T> {
    signal?.throwIfAborted();
    const bytes = this.#codec.encode(route, body);
    const call = new Call(route, timeout ?? this.#options.timeout, signal);
    try {
      this.#send({ route, body: bytes, call });
    } catch (error) {
      call.reject(error);
    }
    return call.answer as Promise<T>;
  }

  /** Sends a message that has no answer. Throws a `ClientError` when it cannot, or what the codec says. */
  notify(route: string, body?: unknown): void {
    this.#send({ route, body: this.#codec.encode(route, body) });
  }

  /** Connects now: instead of the connection that there is, without waiting any longer, or after the end. */
  reconnect(): void {
    this.#failures = 0;
    this.#drop({ code: "closed", message: "the client connects anew" });
    void this.#connect();
  }

  /** Ends the connection, or the attempts to make one. What was sent before still goes out. */
  close(): void {
    if (this.state !== "closed") this.#close({ code: "closed", message: "closed by this side" });
  }

  get #codec() {
    return this.#options.codec ?? json;
  }

  #send(message: Message): void {
    const status = this.#status;
    if (status.state === "open" && this.#connection) return this.#transmit(this.#connection, message);
    if (status.state === "closed") throw errorOf(status.reason);
    if (this.#options.whileAway !== "queue") throw new ClientError("away", "there is no connection");
    this.#outbox.put(message);
    if (message.call) message.call.forget = () => this.#outbox.delete(message);
  }

  #transmit(connection: Connection, { route, body, call }: Message): void {
    if (!call) return connection.notify(route, body);
    const id = connection.request(route, body);
    this.#inFlight.set(id, call);
    call.since = performance.now();
    call.forget = () => {
      this.#inFlight.delete(id);
      connection.cancel(id);
    };
  }

  async #connect(): Promise<void> {
    const attempt = ++this.#attempt;
    const isCurrent = (): boolean => attempt === this.#attempt;
    this.#setStatus({ state: "connecting" });
    let instance: WebAssembly.Instance;
    try {
      const module = await load(this.#options.module, this.#options.connectTimeout);
      instance = await WebAssembly.instantiate(module);
    } catch (error) {
      if (isCurrent()) this.#ended({ code: "lost", message: `the WebAssembly module cannot be loaded: ${error}` });
      return;
    }
    if (!isCurrent()) return;
    const connection = new Connection(this.#url, instance, this.#options, {
      opened: (...what) => void (isCurrent() && this.#opened(...what)),
      answered: (...what) => void (isCurrent() && this.#answered(...what)),
      pushed: (...what) => void (isCurrent() && this.#pushed(...what)),
      ended: (...what) => void (isCurrent() && this.#ended(...what)),
    });
    if (isCurrent()) this.#connection = connection;
  }

  #opened(serializer: string): void {
    const connection = this.#connection as Connection;
    this.#serializer = serializer;
    this.#openSince = performance.now();
    this.#roundTrips = [];
    this.#setStatus({ state: "open" });
    if (connection !== this.#connection) return;
    for (const message of this.#outbox.take()) {
      try {
        this.#transmit(connection, message);
      } catch (error) {
        if (message.call) message.call.reject(error);
        else this.#options.onError(error);
      }
    }
  }

  #answered(id: number, body: Uint8Array, isError: boolean): void {
    const call = this.#inFlight.get(id);
    if (!call) return;
    this.#roundTrips = [performance.now() - call.since, ...this.#roundTrips].slice(0, MAX_ROUND_TRIPS);
    if (isError) return call.reject(new ServerError(call.route, body, decodeError(body, this.#serializer)));
    try {
      call.resolve(this.#codec.decode(call.route, body));
    } catch (error) {
      call.reject(error);
    }
  }

  #pushed(route: string, bytes: Uint8Array): void {
    const handlers = this.#handlers.get(route);
    if (!handlers) return;
    this.#guard(() => {
      const body = this.#codec.decode(route, bytes);
      for (const handler of [...handlers]) this.#guard(() => handler(body, route));
    });
  }

  #ended(reason: Ending): void {
    const lasted = this.state === "open" ? performance.now() - this.#openSince : -1;
    this.#failures = lasted >= this.#delay ? 0 : this.#failures + 1;
    this.#drop(reason);
    const policy = this.#options.reconnect ?? {};
    if (FINAL.has(reason.code) || !policy || this.#failures >= (policy.attempts ?? Infinity)) return this.#close(reason);
    this.#delay = delayOf(policy, this.#failures);
    this.#retry = setTimeout(this.#again, this.#delay);
    globalThis.addEventListener?.("online", this.#again);
    this.#setStatus({ state: "away", reason, retryIn: this.#delay });
  }

  readonly #again = (): void => {
    this.#rest();
    void this.#connect();
  };

  #rest(): void {
    clearTimeout(this.#retry);
    globalThis.removeEventListener?.("online", this.#again);
  }

  #close(reason: Ending): void {
    this.#drop(reason);
    for (const { call } of this.#outbox.take()) call?.reject(errorOf(reason));
    this.#setStatus({ state: "closed", reason });
    for (const pushes of [...this.#iterators]) pushes.end();
  }

  /** Lets go of the connection, and of what was in flight over it. */
  #drop(reason: Ending): void {
    this.#attempt++;
    this.#rest();
    this.#connection?.close();
    this.#connection = undefined;
    for (const call of [...this.#inFlight.values()]) call.reject(errorOf(reason));
  }

  #setStatus(status: Status): void {
    this.#status = status;
    for (const listener of [...this.#statusListeners]) {
      if (this.#status === status) this.#guard(() => listener(status));
    }
  }

  #guard(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.#options.onError(error);
    }
  }
}

/** Makes a client whose first attempt to connect succeeds; rejects, and closes it, when it does not. */
export function connect(url: string | URL, options: Options = {}): Promise<Client> {
  const client = new Client(url, options);
  return new Promise((resolve, reject) => {
    const look = (status: Status): void => {
      if (status.state === "connecting") return;
      off();
      if (status.state === "open") return resolve(client);
      client.close();
      reject(options.signal?.aborted ? options.signal.reason : errorOf(status.reason));
    };
    const off = client.onStatus(look);
    look(client.status);
  });
}
