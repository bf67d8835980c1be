import type { ErrorBody } from "./errors.js";

/** How bodies are written and read. What it throws is what `request` rejects with. */
export interface Codec {
  /** The body of a request or notify. */
  encode(route: string, value: unknown): Uint8Array;
  /** The body of an answer or a push. */
  decode(route: string, bytes: Uint8Array): unknown;
}

const utf8 = new TextEncoder();
const text = new TextDecoder();
export const encodeText = (value: string): Uint8Array => utf8.encode(value);
export const decodeText = (bytes: Uint8Array): string => text.decode(bytes);

/** JSON. Nothing at all is sent as `{}`, and an empty body is read as `undefined`. */
export const json: Codec = {
  encode: (_, value = {}) => encodeText(JSON.stringify(value)),
  decode: (_, bytes) => (bytes.length ? JSON.parse(decodeText(bytes)) : undefined),
};

/** Bytes as they are. */
export const raw: Codec = {
  encode(route, value = new Uint8Array()) {
    if (value instanceof Uint8Array) return value;
    throw new TypeError(`the body for ${route} is no Uint8Array`);
  },
  decode: (_, bytes) => bytes,
};

/** Reads an error in the server's serializer, which it told in its handshake. */
export function decodeError(bytes: Uint8Array, serializer: string): ErrorBody {
  try {
    const read = serializer.startsWith("proto") ? readProtobuf(bytes) : JSON.parse(decodeText(bytes));
    const { code = "", msg = "", metadata } = read as Partial<ErrorBody>;
    return { code: String(code), msg: String(msg), metadata: Object(metadata) };
  } catch {
    return { code: "", msg: "the server answered with an error that cannot be read", metadata: {} };
  }
}

/** `message Error { string code = 1; string msg = 2; map<string, string> metadata = 3; }` */
function readProtobuf(bytes: Uint8Array): ErrorBody {
  const fields = readStrings(bytes);
  const metadata: Record<string, string> = {};
  for (const entry of fields[3] ?? []) {
    const { 1: key, 2: value } = readStrings(entry);
    Object.defineProperty(metadata, last(key), { value: last(value), enumerable: true, configurable: true });
  }
  return { code: last(fields[1]), msg: last(fields[2]), metadata };
}

const last = (values: Uint8Array[] = []): string => decodeText(values.at(-1) ?? new Uint8Array());

/** The fields of a protobuf message that has strings and messages only. */
function readStrings(bytes: Uint8Array): Record<number, Uint8Array[]> {
  const fields: Record<number, Uint8Array[]> = {};
  let at = 0;
  const varint = (): number => {
    for (let value = 0, unit = 1; unit <= 2 ** 28; unit *= 128) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 127) * unit;
      if (byte < 128) return value;
    }
    throw new RangeError("a number is too long");
  };
  while (at < bytes.length) {
    const tag = varint();
    if ((tag & 7) !== 2) throw new TypeError("neither a string nor a message");
    const length = varint();
    (fields[tag >> 3] ??= []).push(bytes.subarray(at, (at += length)));
  }
  return fields;
}
