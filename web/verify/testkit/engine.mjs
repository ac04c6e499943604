// What the tests share: the built scripts in bare engines, and single modules.

import { readFileSync } from "node:fs";
import { createContext, runInContext, runInThisContext, Script } from "node:vm";
import { build } from "esbuild";
import { modules } from "../../esbuild.mjs";

const root = new URL("../../", import.meta.url);

/** The text of a script in dist/verify; run `npm run build` first. */
export function dist(name) {
  return readFileSync(new URL(`dist/verify/${name}`, root), "utf8");
}

/**
 * Evaluates a built script in a context that has ECMAScript 2020 and nothing
 * else: no console, no WebAssembly, no eval, no later built-ins, nothing of Node.
 */
export function bare(name) {
  const context = createContext(Object.create(null), { codeGeneration: { strings: false, wasm: false } });
  const later =
    "for (const f of ['at', 'findLast', 'toSorted', 'toReversed', 'replaceAll']) { delete Array.prototype[f]; delete String.prototype[f]; delete Uint8Array.prototype[f]; }";
  runInContext(
    `delete globalThis.console; delete globalThis.WebAssembly; delete Object.hasOwn; delete globalThis.structuredClone; ${later}`,
    context,
  );
  new Script(dist(name), { filename: name }).runInContext(context);
  return runInContext("trailmark", context);
}

/** Evaluates a built script here. */
export function here(name) {
  return runInThisContext(`(() => { ${dist(name)}; return trailmark; })()`, { filename: name });
}

/** Bundles modules of src/ as they are built, and imports them. */
export const load = (...entries) => loadFor([], ...entries);

/** load under package conditions, such as ["slim"]. */
export async function loadFor(conditions, ...entries) {
  const contents = entries.map((e) => `export * from "./src/${e}";`).join("\n");
  const { outputFiles } = await build({
    ...modules,
    conditions,
    stdin: { contents, resolveDir: new URL("verify/", root).pathname, loader: "ts" },
    write: false,
  });
  return import("data:text/javascript;base64," + Buffer.from(outputFiles[0].contents).toString("base64"));
}

export const vectors = new URL("../vectors/testdata/", root);
export const corpus = new URL("../vectors/corpus/", root);
