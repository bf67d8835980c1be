/** Where the WebAssembly is: its address, its bytes, or the compiled module itself. */
export type ModuleSource = string | URL | BufferSource | WebAssembly.Module;

interface NodeProcess {
  getBuiltinModule?(name: string): { readFile(path: URL): Promise<Uint8Array<ArrayBuffer>> };
}

let usual: Promise<WebAssembly.Module> | undefined;

/** Compiles the module: once for all clients that do not say where it is. */
export function load(source: ModuleSource | undefined, timeout: number): Promise<WebAssembly.Module> {
  if (source !== undefined) return compile(source, timeout);
  usual ??= compile(new URL("./cereus.wasm", import.meta.url), timeout).catch((error: unknown) => {
    usual = undefined;
    throw error;
  });
  return usual;
}

async function compile(source: ModuleSource, timeout: number): Promise<WebAssembly.Module> {
  if (source instanceof WebAssembly.Module) return source;
  if (typeof source !== "string" && !(source instanceof URL)) return WebAssembly.compile(source);
  return WebAssembly.compile(await read(new URL(source, globalThis.location?.href), timeout));
}

/** `fetch` of Node reads no files, and an import of `node:fs` would trouble the bundlers of pages. */
async function read(url: URL, timeout: number): Promise<BufferSource> {
  const { process } = globalThis as { process?: NodeProcess };
  const files = url.protocol === "file:" ? process?.getBuiltinModule?.("node:fs/promises") : undefined;
  if (files) return files.readFile(url);
  const response = await fetch(url, { signal: AbortSignal.timeout(Math.min(timeout, 2 ** 31 - 1)) });
  if (!response.ok) throw new Error(`${url.href} is not there: ${response.status}`);
  return response.arrayBuffer();
}
