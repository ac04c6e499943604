// Builds what people look at into dist/. Nothing in dist/ is committed.

import { build } from "esbuild";
import { anywhere } from "./esbuild.mjs";

// A script that leaves one global behind.
const script = (entry, out, more = {}) =>
  build({ ...anywhere, entryPoints: [entry], outfile: `dist/verify/${out}`, format: "iife", globalName: "trailmark", ...more });

await Promise.all([
  script("verify/src/index.ts", "verify.js"),
  script("verify/src/index.ts", "verify-slim.js", { conditions: ["slim"] }),
  script("verify/src/passport/words.ts", "words.js"),
  script("verify/src/vectors.ts", "vectors.js"),
  build({
    ...anywhere,
    entryPoints: ["verify/cli.mjs"],
    outfile: "dist/verify/cli.mjs",
    format: "esm",
    platform: "node",
    target: "node20",
  }),
]);
