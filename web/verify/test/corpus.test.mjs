// The seed corpus, most of it altered files: both verifiers say the same.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import test from "node:test";
import { compare } from "../testkit/corpus.mjs";
import { corpus } from "../testkit/engine.mjs";

test("corpus", { skip: existsSync(new URL("manifest.json", corpus)) ? false : "no vectors/corpus: run go test ./vectors -update" }, (t) => {
  const { cases, refused, different } = compare(corpus);
  assert.deepEqual(different, []);
  assert.ok(cases >= 100 && refused > cases / 4 && refused < cases);
  t.diagnostic(`${cases} files, ${refused} refused`);
});
