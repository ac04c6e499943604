// Compares this verifier with Go's on a folder of files: manifest.json there
// says of each what kind it is, whether Go took it, and with which code it
// refused a passport.
//
//   node [--jitless] corpus.mjs [FOLDER]

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { corpus, here } from "./engine.mjs";

/** Judges every file; differences are sentences. */
export function compare(folder) {
  const { judgeFile } = here("vectors.js");
  const read = (name) => readFileSync(new URL(name, folder));
  const { at, trust, cases } = JSON.parse(read("manifest.json"));
  const pinned = read(trust);
  const out = { cases: 0, refused: 0, different: [] };
  for (const { file, kind, ok, code } of cases) {
    const got = judgeFile(kind, read(file), pinned, at);
    out.cases++;
    if (!got.ok) out.refused++;
    if (got.ok !== ok || got.code !== code) {
      out.different.push(`${file}: Go says ${ok ? "ok" : code || "refused"}, this ${got.ok ? "ok" : got.code || "refused"} (${got.error})`);
    }
  }
  return out;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const folder = process.argv[2] ? pathToFileURL(process.argv[2] + "/") : corpus;
  const found = compare(folder);
  console.log(JSON.stringify(found, null, 1));
  process.exitCode = found.different.length > 0 ? 1 : 0;
}
