// What travels to a phone: how large it is, and what it must not ask for.

import assert from "node:assert/strict";
import test from "node:test";
import { gzipSync } from "node:zlib";
import { bare, dist } from "../testkit/engine.mjs";

const kb = 1024;

for (const [name, packed, plain] of [
  ["verify-slim.js", 30 * kb, 60 * kb],
  ["verify.js", 70 * kb, 98 * kb],
]) {
  test(`${name} is small`, (t) => {
    const size = Buffer.byteLength(dist(name));
    const gzip = gzipSync(dist(name), { level: 9 }).length;
    t.diagnostic(`${size} bytes minified, ${gzip} with gzip`);
    assert.ok(gzip < packed, `${gzip} bytes with gzip, want under ${packed}`);
    assert.ok(size < plain, `${size} bytes, want under ${plain}`);
  });

  test(`${name} needs nothing but ECMAScript`, () => {
    const text = dist(name);
    for (const word of [/\beval\b/, /\bnew Function\b/, /\bTextDecoder\b/, /\bfetch\(/, /\brequire\(/, /\bimport\(/]) {
      assert.doesNotMatch(text, word);
    }
    // A power of BigInt must not survive: an uploader may lower it to Math.pow.
    assert.doesNotMatch(text, /(?:\d+n|BigInt\([^()]*\))\s*\*\*/);
    assert.deepEqual(Object.keys(bare(name)).sort(), ["Refusal", "Unsupported", "parseTrust", "verify"]);
  });
}
