// How everything in this workspace is bundled; build.mjs and the tests use it.

import { readFileSync } from "node:fs";

// A mini-program's uploader may lower "**" to Math.pow, which throws on BigInt:
// the one such power in a library is written as a shift before anything sees it.
// And BigInt literals, which ES2017 has not, become calls: done once for each and
// not in every field operation, signatures take a quarter less time without a JIT.
const bigIntOfES2017 = {
  name: "bigint-of-es2017",
  setup(b) {
    b.onLoad({ filter: /@noble\/ed25519\/index\.js$/ }, ({ path }) => {
      const constants = new Set();
      const code = readFileSync(path, "utf8")
        .replace(/\b2n \*\* (\d+)n/g, "1n << $1n")
        .replace(/(?<![\w.])(\d+)n\b/g, (_, digits) => (constants.add(digits), `n${digits}$`));
      return { contents: [...constants].map((d) => `const n${d}$ = BigInt(${d});`).join("\n") + code };
    });
  },
};

/** Options for code that runs in any engine with ECMAScript's BigInt. */
export const anywhere = {
  absWorkingDir: import.meta.dirname,
  bundle: true,
  minify: true,
  charset: "utf8",
  legalComments: "none",
  target: "es2017",
  logLevel: "warning",
  define: { "Object.hasOwn": "hasOwn" },
  inject: ["verify/src/engine.ts"],
  plugins: [bigIntOfES2017],
};
