import { encodeText, decodeText } from "./codec.js";
import type { EndCode } from "./errors.js";
import type { Settings } from "./options.js";

/** What `src/exports.rs` exports. */
interface Exports {
  readonly memory: WebAssembly.Memory;
  create(): number;
  argument(bridge: number, length: number): number;
  open(bridge: number, now: number, compress: number, timeout: number, requests: number, queued: number, message: number): number;
  input(bridge: number, now: number): void;
  eof(bridge: number, now: number): void;
  timeout(bridge: number, now: number): void;
  close(bridge: number, now: number): void;
  request(bridge: number, routeLength: number): number;
  notify(bridge: number, routeLength: number): number;
  cancel(bridge: number, id: number): void;
  transmit(bridge: number): number;
  event(bridge: number): number;
  deadline(bridge: number): number;
  number(bridge: number): number;
  part(bridge: number, which: number): number;
  part_len(bridge: number, which: number): number;
}

const enum Part {
  Packet,
  Text,
  Body,
}

export const enum EventKind {
  None,
  Connected,
  Response,
  Error,
  Push,
  Kicked,
  Closed,
}

export const enum Refusal {
  NotConnected = 1,
  TooManyRequests,
  QueueFull,
  TooLong,
}

/** By the number of a `Closed` event. */
export const endCodes: readonly EndCode[] = ["lost", "closed", "kicked", "refused", "timeout", "silent", "protocol"];

/** An event of the core. What its fields mean is told by `EventKind` in `src/bridge.rs`. */
export interface WireEvent {
  readonly kind: EventKind;
  readonly number: number;
  readonly text: string;
  readonly body: Uint8Array;
}

/** One connection of the core, in an instance of the module of its own. It does no IO and knows no time. */
export class Wire {
  readonly #exports: Exports;
  readonly #bridge: number;

  constructor(instance: WebAssembly.Instance) {
    this.#exports = instance.exports as unknown as Exports;
    this.#bridge = this.#exports.create();
  }

  /** Returns whether the settings make sense. */
  open(handshake: object, settings: Settings, now: number): boolean {
    this.#write(encodeText(JSON.stringify(handshake)));
    const { compress, connectTimeout, maxRequests, maxQueuedBytes, maxMessageBytes } = settings;
    const limits = [Number(compress), connectTimeout, maxRequests, maxQueuedBytes, maxMessageBytes] as const;
    return this.#exports.open(this.#bridge, now, ...limits) !== 0;
  }

  input(bytes: Uint8Array, now: number): void {
    this.#write(bytes);
    this.#exports.input(this.#bridge, now);
  }

  eof(now: number): void {
    this.#exports.eof(this.#bridge, now);
  }

  timeout(now: number): void {
    this.#exports.timeout(this.#bridge, now);
  }

  close(now: number): void {
    this.#exports.close(this.#bridge, now);
  }

  /** Returns the id; a negative number is a refusal. */
  request(route: Uint8Array, body: Uint8Array): number {
    this.#write(route, body);
    return this.#exports.request(this.#bridge, route.length);
  }

  /** Returns 0; a negative number is a refusal. */
  notify(route: Uint8Array, body: Uint8Array): number {
    this.#write(route, body);
    return this.#exports.notify(this.#bridge, route.length);
  }

  cancel(id: number): void {
    this.#exports.cancel(this.#bridge, id);
  }

  /** The next packet to send. */
  nextPacket(): Uint8Array<ArrayBuffer> | undefined {
    return this.#exports.transmit(this.#bridge) ? this.#read(Part.Packet) : undefined;
  }

  nextEvent(): WireEvent | undefined {
    const kind = this.#exports.event(this.#bridge);
    if (kind === EventKind.None) return undefined;
    const number = this.#exports.number(this.#bridge);
    return { kind, number, text: decodeText(this.#read(Part.Text)), body: this.#read(Part.Body) };
  }

  /** When `timeout` is due; infinity for never. */
  deadline(): number {
    return this.#exports.deadline(this.#bridge);
  }

  #write(...parts: Uint8Array[]): void {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    let at = this.#exports.argument(this.#bridge, length);
    const memory = new Uint8Array(this.#exports.memory.buffer);
    for (const part of parts) {
      memory.set(part, at);
      at += part.length;
    }
  }

  /** A copy: the next call may move what is there. */
  #read(which: Part): Uint8Array<ArrayBuffer> {
    const length = this.#exports.part_len(this.#bridge, which);
    const at = this.#exports.part(this.#bridge, which);
    return new Uint8Array(this.#exports.memory.buffer).slice(at, at + length) as Uint8Array<ArrayBuffer>;
  }
}
