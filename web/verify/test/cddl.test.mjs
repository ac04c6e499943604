// The definitions of docs/wire-format.md, as another reader of CDDL takes them.
// It knows less than RFC 8610: what it lacks is written otherwise first, by the
// two replacements that section 10 names. vectors/internal/cddl reads the text as
// it stands and holds it against the vectors.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after } from "node:test";
import { parse } from "cddl";

const dir = mkdtempSync(join(tmpdir(), "cddl-"));
after(() => rmSync(dir, { recursive: true }));

const text = readFileSync(new URL("../../../docs/wire-format.md", import.meta.url), "utf8");
const cddl = Array.from(text.matchAll(/^```cddl\n([^]*?)^```$/gm), ([, block]) => block).join("");

const rewritings = [
  (s) => s.replace(/(?<=[{(,\n?] *)(-?)(\d+)(?=:)/g, (_, minus, n) => (minus ? "n" : "k") + n), // 1: to k1:, -1: to n1:
  (s) => s.replace(/(?<=bstr) \.cbor [a-z0-9-]+/g, ""), // bstr .cbor x to bstr
];
const rewritten = rewritings.reduce((s, f) => f(s), cddl);

// The reader takes a file's name only.
function read(s) {
  const file = join(dir, "text.cddl");
  writeFileSync(file, s);
  return parse(file);
}

test("every definition is read", (t) => {
  const names = Array.from(cddl.matchAll(/^([a-z][a-z0-9-]*) *= /gm), ([, name]) => name);
  assert.deepEqual(
    read(rewritten).map((rule) => rule.Name),
    names,
  );
  assert.ok(names.length >= 80);
  t.diagnostic(`${names.length} definitions`);
});

test("each rewriting is needed", () => {
  rewritings.forEach((without, i) => {
    const s = rewritings.filter((f) => f !== without).reduce((s, f) => f(s), cddl);
    assert.throws(() => read(s), undefined, `rewriting ${i}`);
  });
});

test("a definition that is none is refused", () => {
  for (const [from, to] of [
    ["signed    = [", "signed    = "],
    ["hash     = bstr .size 32", "hash     = bstr .size"],
    ["statement = #6.18(signed)", "statement #6.18(signed)"],
    ["limit = [side: 1 / 2,", "limit = [side: 1 / ,"],
  ]) {
    assert.ok(rewritten.includes(from), from);
    assert.throws(() => read(rewritten.replace(from, to)), undefined, to);
  }
});
