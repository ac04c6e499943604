// What travels to a phone: how large it is, and what it must not ask for.

import assert from "node:assert/strict";
import test from "node:test";
import { gzipSync } from "node:zlib";
import { bare, dist } from "../testkit/engine.mjs";

// Bytes, minified, and with gzip. The slim one has Ed25519 and CometBFT only: of
// P-256 keys, contracts, journeys and witnesses it says Unsupported, which is neither
// yes nor no.
for (const [name, plain, packed] of [
  ["verify-slim.js", 30 * 1024, 15_000],
  ["verify.js", 70 * 1024, 32_000],
]) {
  test(`${name} is small`, (t) => {
    const size = Buffer.byteLength(dist(name));
    const gzip = gzipSync(dist(name), { level: 9 }).length;
    t.diagnostic(`${size} bytes minified, ${gzip} with gzip`);
    assert.ok(size < plain, `${size} bytes, want under ${plain}`);
    assert.ok(gzip < packed, `${gzip} bytes with gzip, want under ${packed}`);
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
