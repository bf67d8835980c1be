import { decodeText, encodeText } from "./codec.js";
import { ClientError, type Ending } from "./errors.js";
import type { Settings, WebSocketConstructor } from "./options.js";
import { EventKind, Refusal, Wire, endCodes, type WireEvent } from "./wire.js";

/** What a connection tells its client; the last is `ended`, exactly once. */
export interface Listener {
  opened(serializer: string): void;
  answered(id: number, body: Uint8Array, isError: boolean): void;
  pushed(route: string, body: Uint8Array): void;
  ended(ending: Ending): void;
}

/** From how many bytes in the socket on the rest waits in the core, where there is a limit. */
const MAX_IN_SOCKET = 64 << 10;
/** How often to look whether the socket has sent some: it does not tell. */
const LOOK_AGAIN = 20;
/** As much is read at once: what comes of it is handed out before the next. */
const MAX_READ = 64 << 10;
/** Timers take no more. */
const MAX_DELAY = 2 ** 31 - 1;
const OPEN = 1;

/** One WebSocket and the core's connection over it: the loop that moves bytes, events and time between them. */
export class Connection {
  readonly #wire: Wire;
  readonly #listener: Listener;
  #socket: InstanceType<WebSocketConstructor> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #due = Infinity;
  #kick: string | undefined;
  #wasOpen = false;
  #ended = false;

  constructor(url: string, instance: WebAssembly.Instance, settings: Settings, listener: Listener) {
    this.#wire = new Wire(instance);
    this.#listener = listener;
    const { user, platform, clientVersion, clientBuildNumber, libVersion } = settings;
    const handshake = { sys: { platform, libVersion, clientVersion, clientBuildNumber }, user };
    if (this.#wire.open(handshake, settings, performance.now())) this.#connect(url, settings.WebSocket);
    else this.#fail("invalid", "a limit is zero or too large");
  }

  #connect(url: string, Socket: WebSocketConstructor = globalThis.WebSocket): void {
    let socket: InstanceType<WebSocketConstructor>;
    try {
      socket = this.#socket = new Socket(url);
    } catch (error) {
      return this.#fail("invalid", String(error));
    }
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#wasOpen = true;
      this.#drive();
    };
    socket.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (data instanceof ArrayBuffer) this.#receive(new Uint8Array(data));
      else this.#fail("protocol", "the server sent text where only bytes may be");
    };
    // After an error comes a close, but not in Node 20.
    socket.onclose = socket.onerror = () => {
      this.#wire.eof(performance.now());
      this.#drive();
    };
    this.#arm();
  }

  /** Sends a request and returns its id. */
  request(route: string, body: Uint8Array): number {
    return this.#sent(this.#wire.request(encodeText(route), body));
  }

  notify(route: string, body: Uint8Array): void {
    this.#sent(this.#wire.notify(encodeText(route), body));
  }

  cancel(id: number): void {
    this.#wire.cancel(id);
  }

  /** Ends it; what was sent before still goes out. */
  close(): void {
    this.#wire.close(performance.now());
    this.#flush(Infinity);
    this.#drive();
  }

  #sent(result: number): number {
    if (result < 0) throw refusal(-result);
    this.#flush(MAX_IN_SOCKET);
    this.#arm();
    return result;
  }

  #receive(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length && !this.#ended; at += MAX_READ) {
      this.#wire.input(bytes.subarray(at, at + MAX_READ), performance.now());
      this.#drive();
    }
  }

  /** Brings everything up to date. Timers of hidden pages come late, messages do not: either does what is due. */
  #drive(): void {
    const now = performance.now();
    if (now >= this.#wire.deadline()) this.#wire.timeout(now);
    for (let event; !this.#ended && (event = this.#wire.nextEvent()); ) this.#handle(event);
    if (this.#ended) return;
    this.#flush(MAX_IN_SOCKET);
    this.#arm();
  }

  #handle({ kind, number, text, body }: WireEvent): void {
    switch (kind) {
      case EventKind.Connected:
        return this.#listener.opened(text);
      case EventKind.Response:
      case EventKind.Error:
        return this.#listener.answered(number, body, kind === EventKind.Error);
      case EventKind.Push:
        return this.#listener.pushed(text, body);
      case EventKind.Kicked:
        this.#kick = reasonOf(body);
        return;
      default: {
        const code = endCodes[number] ?? "lost";
        return this.#fail(code, code === "lost" && !this.#wasOpen ? "the server cannot be reached" : text);
      }
    }
  }

  #fail(code: Ending["code"], message: string): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    if (this.#socket) {
      this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
      this.#socket.close();
    }
    const kick = this.#kick;
    this.#listener.ended(kick === undefined ? { code, message } : { code, message: `kicked: ${kick}`, kick });
  }

  #flush(max: number): void {
    const socket = this.#socket;
    if (socket?.readyState !== OPEN) return;
    for (let packet; socket.bufferedAmount < max && (packet = this.#wire.nextPacket()); ) socket.send(packet);
  }

  #arm(): void {
    const isStalled = this.#socket?.readyState === OPEN && this.#socket.bufferedAmount >= MAX_IN_SOCKET;
    const now = performance.now();
    const due = Math.min(this.#wire.deadline(), isStalled ? now + LOOK_AGAIN : Infinity);
    if (due === this.#due || this.#ended) return;
    clearTimeout(this.#timer);
    this.#due = due;
    if (due === Infinity) return;
    this.#timer = setTimeout(() => {
      this.#due = Infinity;
      this.#drive();
    }, Math.min(Math.max(0, Math.ceil(due - now)), MAX_DELAY));
  }
}

function refusal(number: Refusal): ClientError {
  switch (number) {
    case Refusal.TooManyRequests:
      return new ClientError("full", "too many requests wait for an answer: see `maxRequests`");
    case Refusal.QueueFull:
      return new ClientError("full", "too many bytes wait to be sent: see `maxQueuedBytes`");
    case Refusal.TooLong:
      return new ClientError("too-long", "the route or the message is too long");
    default:
      return new ClientError("away", "there is no connection");
  }
}

/** Servers of the family kick with `{"reason": …}`, or with nothing. */
function reasonOf(body: Uint8Array): string | undefined {
  try {
    const { reason } = JSON.parse(decodeText(body)) as { reason?: unknown };
    return reason === undefined ? undefined : String(reason);
  } catch {
    return undefined;
  }
}
