/**
 * How a connection, or the attempt to make one, ended:
 *
 * - `lost`: the server cannot be reached, or closed the connection
 * - `timeout`: the server did not answer the handshake in time
 * - `silent`: nothing came from the server for more than two heartbeats
 * - `protocol`: the server sent something that cannot be read
 * - `refused`: the server did not accept the handshake
 * - `kicked`: the server threw this client out
 * - `invalid`: the browser does not connect to such an address, or the settings make no sense
 * - `closed`: this side closed it
 *
 * After the last four no attempt is made to come back.
 */
export type EndCode = "lost" | "timeout" | "silent" | "protocol" | "refused" | "kicked" | "invalid" | "closed";

export interface Ending {
  readonly code: EndCode;
  /** The same for people. */
  readonly message: string;
  /** The reason that the server gave for a kick, if it did. */
  readonly kick?: string;
}

/** The server answered a request with an error. */
export class ServerError extends Error {
  override name = "ServerError";
  readonly code: string;
  /** The server's text. */
  readonly msg: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly route: string;
  /** The error as it came. */
  readonly body: Uint8Array;

  constructor(route: string, body: Uint8Array, { code, msg, metadata }: ErrorBody) {
    super(msg || code);
    this.code = code;
    this.msg = msg;
    this.metadata = metadata;
    this.route = route;
    this.body = body;
  }
}

/**
 * A request or notify has no answer because of this side or the connection. Beside those of {@link EndCode}:
 *
 * - `timeout`: the answer did not come in time
 * - `away`: there is no connection now, and nothing is kept for the next one
 * - `full`: too many requests are in flight, or too many bytes wait to be sent
 * - `too-long`: the route has more than 255 bytes, or the message more than 16 MiB
 */
export class ClientError extends Error {
  override name = "ClientError";
  readonly code: EndCode | "away" | "full" | "too-long";
  /** How the connection ended, if that is why. */
  readonly ending: Ending | undefined;

  constructor(code: ClientError["code"], message: string, ending?: Ending) {
    super(message);
    this.code = code;
    this.ending = ending;
  }
}

export const errorOf = (ending: Ending): ClientError => new ClientError(ending.code, ending.message, ending);

/** What the family's servers answer instead of a reply. */
export interface ErrorBody {
  readonly code: string;
  readonly msg: string;
  readonly metadata: Readonly<Record<string, string>>;
}
