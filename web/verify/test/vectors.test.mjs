// Every golden case gives the answer of the Go verifier, in each engine.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import test from "node:test";
import { promisify } from "node:util";

// What all cases together may take without a JIT, as on an iPhone in a
// mini-program; 6 s were measured on a busy machine of two cores. One passport
// of the size of these took 41 ms and has to stay well under half a second.
const budget = { all: 45_000, passport: 500 };

for (const [name, flags, mode] of [
  ["node", [], "here"],
  ["node without a JIT", ["--jitless"], "here"],
  ["an empty context", [], "bare"],
]) {
  test(`vectors in ${name}`, { concurrency: true }, async (t) => {
    const script = new URL("../testkit/judge.mjs", import.meta.url).pathname;
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, script, mode]);
    const { cases, wrong, ms } = JSON.parse(stdout);
    assert.deepEqual(wrong, []);
    assert.ok(cases >= 250, `${cases} cases, want at least 250`);
    const total = Object.values(ms).reduce((n, s) => n + s.ms, 0);
    t.diagnostic(
      `${cases} cases in ${Math.round(total)} ms: ${Object.entries(ms)
        .map(([k, s]) => `${k} ${s.cases} in ${s.ms} ms`)
        .join(", ")}`,
    );
    assert.ok(total < budget.all, `${total} ms, want under ${budget.all}`);
    assert.ok(ms.passport.ms / ms.passport.cases < budget.passport, `${ms.passport.ms} ms for ${ms.passport.cases} passports`);
  });
}
