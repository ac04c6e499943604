// Builds what people look at into dist/. Nothing in dist/ is committed.

import { mkdir, writeFile } from "node:fs/promises";
import { build } from "esbuild";
import { modules, script } from "./esbuild.mjs";

const dist = new URL("dist/verify/", import.meta.url);
await mkdir(dist, { recursive: true });

const put = async (name, code) => writeFile(new URL(name, dist), (await code) + "\n");
const phone = { texts: false };

await Promise.all([
  put("verify.js", script("verify/src/index.ts", phone)),
  put("verify-slim.js", script("verify/src/index.ts", { ...phone, conditions: ["slim"] })),
  put("words.js", script("verify/src/passport/words.ts", phone)),
  put("vectors.js", script("verify/src/vectors.ts")),
  put("vectors-codes.js", script("verify/src/vectors.ts", phone)),
  build({ ...modules, entryPoints: ["verify/cli.mjs"], outfile: "dist/verify/cli.mjs", platform: "node", target: "node20" }),
]);
