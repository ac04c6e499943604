// The built command line: words, JSON, exit codes.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after } from "node:test";
import { load, vectors } from "../testkit/engine.mjs";

const { parseCase } = await load("vectors.ts");
const cli = new URL("../../dist/verify/cli.mjs", import.meta.url).pathname;
const dir = mkdtempSync(join(tmpdir(), "verify-"));
after(() => rmSync(dir, { recursive: true }));

// The files of a golden case.
function files(name) {
  const { header, body } = parseCase(readFileSync(new URL(`passport-${name}.txt`, vectors), "utf8"));
  const [passport, trust] = [join(dir, name + ".passport"), join(dir, name + ".trust")];
  writeFileSync(passport, body);
  writeFileSync(trust, Buffer.from(header.get("trust"), "hex"));
  return { passport, trust, verdict: header.has("verdict") ? JSON.parse(header.get("verdict")) : undefined, size: body.length };
}

function run(...args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [cli, ...args], { encoding: "utf8" });
  return { status, stdout, stderr };
}

test("a passport that stands", () => {
  const { passport, trust, verdict, size } = files("kept");
  const said = run("--trust", trust, passport);
  assert.equal(said.stdout, "Verified: 2–8 °C was kept from Hangzhou cold store 1 to Refrigerated truck 3, wherever it was measured.\n");
  assert.equal(said.status, 0);
  const json = run("--json", "--trust", trust, passport);
  const { verified, bytes, ms, ...rest } = JSON.parse(json.stdout);
  assert.equal(verified, true);
  assert.equal(bytes, size);
  assert.equal(typeof ms, "number");
  assert.deepEqual(rest, verdict);
});

test("a broken rule", () => {
  const { passport, trust } = files("beyond");
  const en = run("--trust", trust, passport);
  assert.match(
    en.stdout,
    /^Verified, but beyond the rule: 8 °C or above for 1 h 20 min in all over the whole journey \(allowed: less than 30 min in all\)\.$/m,
  );
  const zh = run("--lang", "zh-CN", "--trust", trust, passport);
  assert.match(zh.stdout, /^已核验，但有超标：全程累计有 1 小时 20 分钟处于 8 °C 及以上（标准：累计须少于 30 分钟）。$/m);
  assert.equal(en.status, 0);
});

test("a passport that does not stand", () => {
  const { passport, trust } = files("range-sum-altered");
  const said = run("--trust", trust, passport);
  assert.equal(said.status, 1);
  assert.match(said.stdout, /^REFUTED: range: /);
  const json = run("--trust", trust, "--json", passport);
  assert.equal(json.status, 1);
  const { verified, code, reason } = JSON.parse(json.stdout);
  assert.deepEqual([verified, code], [false, "range"]);
  assert.match(reason, /^range: /);
});

test("a command line that is none", () => {
  const { passport, trust } = files("kept");
  for (const args of [
    [],
    [passport],
    ["--trust", trust],
    ["--trust", trust, passport, passport],
    ["--trust", trust, "--nonsense", passport],
    ["--lang", "fr", "--trust", trust, passport],
  ]) {
    const { status, stdout, stderr } = run(...args);
    assert.equal(status, 2, args.join(" "));
    assert.equal(stdout, "");
    assert.match(stderr, /^verify: /);
  }
  assert.equal(run("--help").status, 0);
  const gone = run("--trust", join(dir, "gone"), passport);
  assert.equal(gone.status, 1);
  assert.match(gone.stderr, /ENOENT/);
  assert.equal(run("--trust", passport, passport).status, 1); // not a trust file
});
