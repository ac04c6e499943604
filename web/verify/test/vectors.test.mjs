// Every golden case gives the answer of the Go verifier, in each engine.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import test from "node:test";
import { promisify } from "node:util";

// What all cases together may take without a JIT, as on an iPhone in a
// mini-program; 73 s were measured on a machine of two cores with fourteen at work. One passport
// of the size of these took 41 ms and has to stay well under half a second.
const budget = { all: 120_000, passport: 500 };

for (const [name, flags, ...args] of [
  ["node", [], "here", "vectors.js"],
  ["node without a JIT", ["--jitless"], "here", "vectors.js"],
  ["an empty context", [], "bare", "vectors.js"],
  ["an empty context, without texts", [], "bare", "vectors-codes.js"],
  ["what phones get", [], "bare", "verify.js"],
  ["what phones get, without a JIT", ["--jitless"], "here", "verify-slim.js"],
]) {
  test(`vectors in ${name}`, { concurrency: true }, async (t) => {
    const script = new URL("../testkit/judge.mjs", import.meta.url).pathname;
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, script, ...args]);
    const { cases, unsupported, wrong, ms } = JSON.parse(stdout);
    assert.deepEqual(wrong, []);
    const least = args[1].startsWith("verify") ? 130 : 250;
    assert.ok(cases >= least, `${cases} cases, want at least ${least}`);
    // ES256, anchors on EVM chains, journeys and witnesses.
    if (args[1] !== "verify-slim.js") assert.equal(unsupported, 0);
    const total = Object.values(ms).reduce((n, s) => n + s.ms, 0);
    t.diagnostic(
      `${cases} cases (${unsupported} not supported) in ${Math.round(total)} ms: ${Object.entries(ms)
        .map(([k, s]) => `${k} ${s.cases} in ${s.ms} ms`)
        .join(", ")}`,
    );
    assert.ok(total < budget.all, `${total} ms, want under ${budget.all}`);
    assert.ok(ms.passport.ms / ms.passport.cases < budget.passport, `${ms.passport.ms} ms for ${ms.passport.cases} passports`);
  });
}
