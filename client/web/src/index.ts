export { Client, connect, type State, type Status } from "./client.js";
export { json, raw, type Codec } from "./codec.js";
export { ClientError, ServerError, type EndCode, type Ending } from "./errors.js";
export type { RequestOptions } from "./call.js";
export type { ModuleSource } from "./module.js";
export type { Options, Reconnect, WebSocketConstructor } from "./options.js";
export type { Pushes } from "./pushes.js";
