import type { Codec } from "./codec.js";
import type { ModuleSource } from "./module.js";

/** How to come back when the connection is lost. */
export interface Reconnect {
  /** The first delay, in milliseconds; each failure doubles it. Default: 500. */
  readonly min?: number;
  /** The longest delay. Default: 15,000. */
  readonly max?: number;
  /** The part of a delay that is left to chance, from 0 to 1, so that not all clients come back at once. Default: 0.5. */
  readonly jitter?: number;
  /** After how many attempts in a row to give up. Default: never. */
  readonly attempts?: number;
}

export interface Options {
  /** Whatever the server wants to know in the handshake. */
  readonly user?: Readonly<Record<string, unknown>>;
  /** What the client runs on. Default: `web`. */
  readonly platform?: string;
  /** The version of the game. */
  readonly clientVersion?: string;
  /** The build of the game. */
  readonly clientBuildNumber?: string;
  /**
   * A server takes a client that tells the version of its library for a native one: it deflates what it sends, spells out the
   * routes that the dictionary has, and kicks without a reason. Default: none.
   */
  readonly libVersion?: string;
  /** How bodies are written and read. Default: `json`. */
  readonly codec?: Codec;
  /** How to come back; `false`: not at all. */
  readonly reconnect?: Reconnect | false;
  /** How long a connection may take to open, handshake included, in milliseconds. Default: 10,000. */
  readonly connectTimeout?: number;
  /** How long a request may take; `Infinity`: as long as it likes. Default: 30,000. */
  readonly timeout?: number;
  /**
   * What becomes of requests and notifies while there is no connection: they fail, or they wait for the next one, within
   * `maxRequests` and `maxQueuedBytes`. Default: `fail`.
   *
   * The server knows nothing of the connection before. What a status listener sends on `open` goes out first: a login.
   */
  readonly whileAway?: "fail" | "queue";
  /** Whether bodies that become shorter are sent deflated. What comes deflated is read in any case. Default: false. */
  readonly compress?: boolean;
  /** How many requests may wait for an answer. Default: 128. */
  readonly maxRequests?: number;
  /** How many bytes may wait to be sent; each message counts for some 100 more than it has. Default: 1 MiB. */
  readonly maxQueuedBytes?: number;
  /** The longest message that is read, before and after inflating. Default: 16 MiB less one byte, as long as there are any. */
  readonly maxMessageBytes?: number;
  /** Closes the client. */
  readonly signal?: AbortSignal;
  /** Gets what push handlers and status listeners throw, and pushes that the codec cannot read. Default: `console.error`. */
  readonly onError?: (error: unknown) => void;
  /** Where `cereus.wasm` is. Default: beside this module. */
  readonly module?: ModuleSource;
  /** For platforms without a global `WebSocket`, such as Node 20: that of the package `ws`, for example. */
  readonly WebSocket?: WebSocketConstructor;
}

/** The part of the WebSocket constructor that is used. */
export type WebSocketConstructor = new (url: string) => Pick<
  WebSocket,
  "binaryType" | "bufferedAmount" | "close" | "readyState" | "send"
> & {
  onopen: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
};

export const defaults = {
  user: {},
  platform: "web",
  clientVersion: "",
  clientBuildNumber: "",
  libVersion: "",
  connectTimeout: 10_000,
  timeout: 30_000,
  whileAway: "fail",
  compress: false,
  maxRequests: 128,
  maxQueuedBytes: 1 << 20,
  maxMessageBytes: (1 << 24) - 1,
  onError: (error: unknown) => console.error(error),
} satisfies Options;

/** The options with the defaults of those that are not given. */
export type Settings = Options & Required<Pick<Options, keyof typeof defaults>>;

/** The delay before the next attempt, when so many have failed in a row. */
export function delayOf({ min = 500, max = 15_000, jitter = 0.5 }: Reconnect, failures: number): number {
  return Math.min(max, min * 2 ** failures) * (1 - jitter * Math.random());
}
