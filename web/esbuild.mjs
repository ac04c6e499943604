// How everything in this workspace is bundled; build.mjs and the tests use it.

import { build, transform } from "esbuild";
import { minify } from "terser";
import { library } from "./verify/shrink/library.mjs";
import { ofLanguage, ofTypes } from "./verify/shrink/names.mjs";
import { asScript, bigInts, shortNames, withoutTexts, withoutUnused } from "./verify/shrink/syntax.mjs";

/** Options for modules of src/: TEXTS is whether errors say why in words. */
export const modules = {
  absWorkingDir: import.meta.dirname,
  bundle: true,
  charset: "utf8",
  legalComments: "none",
  target: "es2020",
  format: "esm",
  logLevel: "warning",
  define: { "Object.hasOwn": "hasOwn", TEXTS: "true" },
  inject: ["verify/src/engine.ts"],
  plugins: [library()],
  // Class fields are assigned: defined, they would keep their names as strings.
  tsconfigRaw: { compilerOptions: { target: "es2020", useDefineForClassFields: false } },
};

// What leaves a script by name; all other properties get short ones.
const verdict = ofTypes(import.meta.dirname, ["verify/src/passport/verdict.ts", "verify/src/payload.ts"], ["Kind"]);
// Of passports that the slim script does not judge.
const journey = ofTypes(import.meta.dirname, ["verify/src/passport/facts.ts"], []);
const judged = ofTypes(import.meta.dirname, ["verify/src/vectors.ts"], []);
const kept = [...ofLanguage(), ...verdict];

/**
 * A script for any engine with ECMAScript's BigInt, as small as it gets, that
 * leaves one global behind. Without texts, errors say their code only.
 */
export async function script(entry, { texts = true, ...more } = {}) {
  const quoted = new Set();
  const travelled = more.conditions?.includes("slim") ? [] : journey;
  const { outputFiles } = await build({
    ...modules,
    ...more,
    plugins: [library(quoted)],
    entryPoints: [entry],
    define: { ...modules.define, TEXTS: String(texts) },
    write: false,
  });
  let code = outputFiles[0].text;
  if (!texts) code = withoutTexts(code);
  code = shortNames(bigInts(withoutUnused(code)));
  ({ code } = await transform(code, { target: "es2017", charset: "utf8", logLevel: "warning" }));
  ({ code } = await minify(asScript(code, "trailmark"), {
    ecma: 2017,
    // Nothing here reads a property for its side effects, or has getters that throw;
    // a key's short name is for texts alone.
    compress: { passes: 3, pure_getters: true, unsafe_arrows: true, unsafe_methods: true, hoist_funs: true, keep_fargs: false, pure_funcs: ["short"] },
    mangle: {
      properties: { reserved: [...kept, ...travelled, ...quoted, ...(entry.endsWith("vectors.ts") ? judged : [])], builtins: true, keep_quoted: true },
    },
    format: { comments: false },
  }));
  // Terser inlines more than esbuild, which prints shorter; neither writes let for const.
  return (await transform(code.replace(/\bconst /g, "let "), { target: "es2017", charset: "utf8", minify: true })).code;
}
