// Witnesses: what the golden cases of passports do not reach.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { bare, load, vectors } from "../testkit/engine.mjs";

const m = await load("passport/trust.ts", "vectors.ts");
const of = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
const named = m.parseCase(readFileSync(new URL("passport-cosigned-by-a-named-witness.txt", vectors), "utf8"));

test("a build without witnesses says so of a trust file that asks for them", () => {
  const slim = bare("verify-slim.js");
  const full = bare("verify.js");
  const good = of(named.header.get("trust"));
  assert.throws(
    () => slim.parseTrust(good),
    (e) => e instanceof slim.Unsupported,
  );
  const at = Number(named.header.get("at"));
  const { witnesses } = full.verify(named.body, full.parseTrust(good), at);
  assert.equal(witnesses.quorum, 1);
  assert.equal(witnesses.ledgers[0].cosigned[0].name, "witness.example.org/w1");
  // Without them both say the same of the same cosigned passport.
  const unasked = m.parseCase(readFileSync(new URL("passport-cosigned-unasked.txt", vectors), "utf8"));
  const plain = of(unasked.header.get("trust"));
  const say = ({ verify, parseTrust }) => JSON.stringify(verify(unasked.body, parseTrust(plain), at));
  assert.equal(say(slim), say(full));
  assert.ok(!say(full).includes("witnesses"));
});

test("a trust file has one form for the witnesses it names", () => {
  const good = named.header.get("trust");
  const name = Buffer.from("witness.example.org/w1").toString("hex");
  const key = /a3010120062158201[0-9a-f]{63}|a301012006215820[0-9a-f]{64}/.exec(good.slice(good.indexOf(name)))[0];
  const one = `8276${name}${key}`;
  const at = good.indexOf("06a2010102"); // witnesses: quorum 1, named
  assert.ok(at > 0 && good.endsWith("81" + one));
  const head = good.slice(0, at);
  const trust = (witnesses, start = head) => of(start + "06" + witnesses);
  const other = key.replace(/..$/, (b) => (parseInt(b, 16) ^ 1).toString(16).padStart(2, "0"));
  assert.equal(m.parseTrust(trust(`a2010102 81 ${one}`.replace(/ /g, ""))).witnesses.quorum, 1);
  assert.equal(m.parseTrust(trust(`a301020280 03f5`.replace(/ /g, ""))).witnesses.devices, true);
  for (const [bad, words] of [
    [trust(`a201000281${one}`), /out of bounds/],
    [trust(`a2011841` + `0281${one}`), /out of bounds/],
    [trust(`a201020281${one}`), /can never be had/],
    [trust(`a201010280`), /can never be had/],
    [trust(`a201010282${one}${one}`), /given twice/],
    [trust(`a201010281` + one.replace(name, name.replace("2e", "2b"))), /no name/], // a plus sign
    [trust(`a201010281` + one.replace(name, name.replace("2e", "20"))), /no name/],
    [trust(`a301020280` + "03f4"), /malformed/], // false
    [trust(`a201010281${one}`, head.replace(/^a60103/, "a60101")), /another version/],
    [trust(`a201010281${one}`, head.replace(/^a60103/, "a60102")), /another version/],
    [of(head.replace(/^a6/, "a5")), /another version/],
  ])
    assert.throws(() => m.parseTrust(bad), words);
  assert.throws(() => m.parseTrust(trust(`a201010281${one.replace(key, other)}`)));
});
