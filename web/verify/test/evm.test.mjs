// Anchors on EVM chains: what the golden cases of passports do not reach.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { bare, load, vectors } from "../testkit/engine.mjs";

const m = await load("keccak.ts", "passport/evm.ts", "passport/trust.ts", "vectors.ts");
const of = (hex) => Uint8Array.from(Buffer.from(hex.replace(/^0x/, ""), "hex"));

// Tries that geth proved, most of them with nodes inside nodes.
const { tries } = JSON.parse(readFileSync(new URL("../../../passport/internal/evmproof/testdata/golden.json", import.meta.url), "utf8"));

test("keccak256 is the library's", () => {
  for (let n = 0; n < 420; n++) {
    const data = Uint8Array.from({ length: n }, (_, i) => (i * 7 + n) & 255);
    assert.deepEqual(m.keccak256(data), keccak_256(data), `${n} bytes`);
  }
});

test("keys are looked up as geth does", () => {
  let absent = 0;
  for (const { root, key, value, proof } of tries) {
    const nodes = proof.map(of);
    const want = of(value).length > 0 ? of(value) : undefined;
    assert.deepEqual(m.lookUp(of(root), of(key), nodes), want);
    if (want === undefined) absent++;
    assert.throws(() => m.lookUp(of(root), of(key), nodes.slice(1)));
    assert.throws(() => m.lookUp(of(root), of(key), [...nodes, nodes[0]]), /goes on after/);
    nodes.forEach((node, i) => {
      for (let at = 0; at < node.length; at++) {
        const bad = nodes.slice();
        bad[i] = node.slice();
        bad[i][at] ^= 1 << (at & 7);
        assert.throws(() => m.lookUp(of(root), of(key), bad), /another hash/);
      }
    });
  }
  assert.ok(absent > 0 && absent < tries.length);
});

test("the slot after another", () => {
  const word = (hex) => of(hex.padStart(64, "0"));
  for (const [slot, want] of [
    ["00", "01"],
    ["00ff", "0100"],
    ["7f" + "ff".repeat(31), "80" + "00".repeat(31)],
    ["ff".repeat(32), "00"],
  ])
    assert.deepEqual(m.next(word(slot)), word(want));
});

test("a build without EVM anchors says so where one is to be checked", () => {
  const slim = bare("verify-slim.js");
  const full = bare("verify.js");
  const checked = ({ verify, parseTrust }, name) => {
    const { header, body } = m.parseCase(readFileSync(new URL(`passport-evm-${name}.txt`, vectors), "utf8"));
    return verify(body, parseTrust(of(header.get("trust"))), Number(header.get("at"))).anchors[0].checked;
  };
  for (const name of ["head", "event", "root-node-altered", "block-not-pinned", "without-evidence"]) {
    assert.throws(
      () => checked(slim, name),
      (e) => e instanceof slim.Unsupported,
    );
  }
  assert.equal(checked(full, "head"), true);
  assert.equal(checked(full, "event"), true);
  for (const name of ["block-not-pinned", "contract-not-pinned", "without-evidence"]) assert.equal(checked(full, name), false);
  assert.equal(checked(slim, "contract-not-pinned"), false);
});

test("a trust file has one form for what it pins", () => {
  const { header } = m.parseCase(readFileSync(new URL("passport-evm-head.txt", vectors), "utf8"));
  const good = of(header.get("trust"));
  assert.equal(m.parseTrust(good).chains[0].contract.blocks.length, 1);
  const altered = (from, to, more = "") => {
    const text = Buffer.from(good).toString("hex");
    assert.equal(text.split(from).length, 2, from);
    return of(text.replace(from, to) + more);
  };
  const second = (number) => altered("81821832", "82821832", `8218${number}5820` + "00".repeat(32)); // after [50, …]
  assert.equal(m.parseTrust(second("33")).chains[0].contract.blocks.length, 2);
  for (const [bad, words] of [
    [second("32"), /out of order/],
    [second("31"), /out of order/],
    [altered("a50102", "a50101"), /another version/],
    [altered("a50102", "a50103"), /another version/], // which has witnesses
    [altered("a50102", "a50104"), /out of bounds/],
    [altered("02020300", "02010300"), /another kind/], // its chain is of CometBFT
    [altered("81821832", "80"), /out of bounds|malformed/],
  ])
    assert.throws(() => m.parseTrust(bad), words);
});
