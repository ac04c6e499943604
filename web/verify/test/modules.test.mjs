// What the golden cases do not reach, each module by itself.

import assert from "node:assert/strict";
import { createHash, generateKeyPairSync, sign as nodeSign, verify as nodeVerify } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import test from "node:test";
import { bare, load, loadFor, vectors } from "../testkit/engine.mjs";

const m = await load(
  "bytes.ts",
  "cbor.ts",
  "digest.ts",
  "ed25519.ts",
  "hash.ts",
  "key.ts",
  "fail.ts",
  "p256.ts",
  "tree.ts",
  "vectors.ts",
  "passport/epc.ts",
  "passport/object.ts",
);
const { Point, etc, verify: nobleVerify, hashes } = await import("@noble/ed25519");
const { sha512 } = await import("@noble/hashes/sha2.js");
hashes.sha512 = sha512;
const of = (hex) => Uint8Array.from(Buffer.from(hex.replace(/ /g, ""), "hex"));

// A generator with a seed, so that a failure can be had again.
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

test("text is decoded as a strict TextDecoder does", () => {
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const next = random(1);
  const lead = [0x41, 0x80, 0xc2, 0xe0, 0xe2, 0xed, 0xf0, 0xf4, 0xf5, 0xbf, 0x9f, 0xa0, 0x8f, 0x90];
  let good = 0;
  for (let i = 0; i < 20_000; i++) {
    const b = Uint8Array.from({ length: 1 + Math.floor(next() * 5) }, () =>
      next() < 0.7 ? lead[Math.floor(next() * lead.length)] : Math.floor(next() * 256),
    );
    let want;
    try {
      want = strict.decode(b);
      good++;
    } catch {}
    assert.equal(m.text(b), want, Buffer.from(b).toString("hex"));
    if (want !== undefined) assert.deepEqual(m.utf8(want), b);
  }
  assert.ok(good > 100);
});

test("base64 refuses what is not padded base64", () => {
  for (const s of ["", "AA==", "AAA=", "AAAA", "/+8=", "QQ=="]) assert.deepEqual(m.base64(s), Uint8Array.from(Buffer.from(s, "base64")));
  assert.deepEqual(m.base64("QR=="), of("41")); // unused bits are free, as in Go
  for (const s of ["A", "AA", "AA=A", "=AAA", "A===", "AA==AAAA", "A A=", "AA-_", "AAAA="]) assert.equal(m.base64(s), undefined, s);
});

test("integers are read in their shortest form only", () => {
  const uint = (hex) => m.decode(of(hex), m.uint);
  for (const [hex, n] of [
    ["00", 0],
    ["17", 23],
    ["1818", 24],
    ["18ff", 255],
    ["190100", 256],
    ["1a00010000", 65536],
    ["1b0000000100000000", 2 ** 32],
    ["1b001fffffffffffff", 2 ** 53 - 1],
  ]) {
    assert.equal(uint(hex), n);
    assert.deepEqual(Uint8Array.from(m.encodeInt(n)), of(hex));
  }
  for (const hex of ["1800", "1817", "190000", "1900ff", "1a0000ffff", "1b00000000ffffffff"])
    assert.throws(() => uint(hex), /not deterministic/, hex);
  for (const hex of ["", "18", "1901", "1b00", "1c", "1f", "20", "f6", "f90000", "0000"]) assert.throws(() => uint(hex), Error, hex);
  const big = (hex) => m.decode(of(hex), m.big);
  for (const [hex, n] of [
    ["1b7fffffffffffffff", 2n ** 63n - 1n],
    ["3b7ffffffffffffffe", -(2n ** 63n) + 1n],
    ["3b0020000000000000", -(2n ** 53n) - 1n],
    ["20", -1n],
    ["00", 0n],
  ]) {
    assert.equal(big(hex), n);
    assert.deepEqual(Uint8Array.from(m.encodeInt(n)), of(hex));
  }
  assert.equal(big("3b7fffffffffffffff"), -(2n ** 63n));
  assert.throws(() => big("1b8000000000000000"), /malformed/);
  assert.throws(() => big("3b8000000000000000"), /malformed/);
});

test("lengths are bounded before anything is allocated", () => {
  assert.throws(() => m.decode(of("9a7fffffff"), m.list(m.uint)), /malformed/);
  assert.throws(() => m.decode(of("5b7fffffffffffffff"), m.bytes), /malformed/);
  const many = (n) => Uint8Array.from([0x99, n >> 8, n & 255, ...new Uint8Array(n)]);
  assert.equal(m.decode(many(8192), m.list(m.uint)).length, 8192);
  assert.throws(() => m.decode(many(8193), m.list(m.uint)), /malformed/);
});

test("a map has exactly its keys, in order", () => {
  const read = m.struct({ a: m.uint, b: m.optional(m.uint), c: m.nonEmpty(m.uint), d: m.uint }, [1, 2, 3, -1]);
  const map = (hex) => m.decode(of(hex), read);
  assert.deepEqual(map("a2 0105 2006"), { a: 5, d: 6 });
  assert.deepEqual(map("a4 0105 0200 0301 2006"), { a: 5, b: 0, c: 1, d: 6 });
  for (const hex of ["a2 2006 0105", "a1 0105", "a3 0105 0300 2006", "a2 180105 2006"])
    assert.throws(() => map(hex), /not deterministic/, hex);
  for (const hex of ["a3 0105 0105 2006", "a3 0105 0400 2006", "a2 6131 05 2006", "bf 0105 2006 ff", "a3 0105 2006 2100"])
    assert.throws(() => map(hex), /malformed/, hex);
});

test("ed25519 is cofactorless, as in Go", () => {
  // R + T with T of order 8: 8·(s·B − h·A − R − T) is zero, so a cofactored
  // check accepts it. The signer knows his key and means to split verifiers.
  const order = Point.CURVE().n;
  const le = (b) => BigInt("0x" + Buffer.from(b).reverse().toString("hex"));
  const bytes = (n) => of(n.toString(16).padStart(64, "0")).reverse();
  const torsion = Point.fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05");
  const a = 123456789n;
  const A = Point.BASE.multiply(a);
  const x = A.toBytes();
  const message = of("00 01 02");
  const sign = (r, shift) => {
    const R = Point.BASE.multiply(r).add(shift).toBytes();
    const h = etc.mod(le(sha512(Buffer.concat([R, x, message]))), order);
    return Uint8Array.from([...R, ...bytes(etc.mod(r + h * a, order))]);
  };
  const key = m.edPublicKey(x);
  const honest = sign(77n, Point.ZERO);
  assert.ok(m.edVerify(key, x, message, honest));
  const split = sign(77n, torsion);
  assert.ok(nobleVerify(split, message, x), "the library's default accepts it");
  assert.ok(!m.edVerify(key, x, message, split));
  const over = Uint8Array.from([...honest.subarray(0, 32), ...bytes(le(honest.subarray(32)) + order)]);
  assert.ok(!m.edVerify(key, x, message, over));
  for (let i = 0; i < 64; i += 7) {
    const bad = honest.slice();
    bad[i] ^= 1;
    assert.ok(!m.edVerify(key, x, message, bad), `byte ${i}`);
  }
});

test("signatures of node:crypto verify", () => {
  for (let i = 0; i < 4; i++) {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const x = Uint8Array.from(Buffer.from(publicKey.export({ format: "jwk" }).x, "base64url"));
    const message = new Uint8Array(i * 100).fill(i);
    assert.ok(m.edVerify(m.edPublicKey(x), x, message, Uint8Array.from(nodeSign(null, message, privateKey))));
  }
});

test("es256 is judged, or left open by a build without it", async () => {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { x, y } = publicKey.export({ format: "jwk" });
  const cose = Buffer.concat([of("a4 0102 2001 215820"), Buffer.from(x, "base64url"), of("225820"), Buffer.from(y, "base64url")]);
  const message = of("00 01 02");
  let low;
  for (let high; !low || !high; ) {
    const sig = Uint8Array.from(nodeSign("sha256", message, { key: privateKey, dsaEncoding: "ieee-p1363" }));
    if (sig[32] < 0x7f) low = sig;
    else if (sig[32] >= 0x80) high = sig;
    if (high) assert.throws(() => m.verifySignature(m.parseKey(Uint8Array.from(cose)), -7, message, high), /s over n\/2/);
  }
  m.verifySignature(m.parseKey(Uint8Array.from(cose)), -7, message, low);
  assert.throws(() => m.verifySignature(m.parseKey(Uint8Array.from(cose)), -7, of("00"), low), /does not verify/);
  const slim = await loadFor(["slim"], "fail.ts", "key.ts");
  assert.throws(
    () => slim.parseKey(Uint8Array.from(cose)),
    (e) => e instanceof slim.Unsupported,
  );
  cose[cose.length - 1] ^= 1;
  assert.throws(() => m.parseKey(Uint8Array.from(cose)), /not a point/);
});

test("es256 is judged as node:crypto judges it", () => {
  const next = random(3);
  const { p, n } = m;
  const half = n >> 1n;
  const bytes = (v) => of(v.toString(16).padStart(64, "0"));
  let accepted = 0;
  for (let i = 0; i < 6; i++) {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const jwk = publicKey.export({ format: "jwk" });
    const [x, y] = [jwk.x, jwk.y].map((v) => Uint8Array.from(Buffer.from(v, "base64url")));
    const message = Uint8Array.from({ length: i * 50 }, () => next() * 256);
    const made = Uint8Array.from(nodeSign("sha256", message, { key: privateKey, dsaEncoding: "ieee-p1363" }));
    const r = m.bigEndian(made.subarray(0, 32));
    const s = m.bigEndian(made.subarray(32));
    const low = s > half ? n - s : s;
    const cases = [[r, low]];
    for (const bad of [0n, 1n, n - 1n, n, n + 1n, p, (1n << 256n) - 1n]) cases.push([bad, low]);
    for (const bad of [0n, 1n, half]) cases.push([r, bad]);
    for (let k = 0; k < 4; k++)
      cases.push([r ^ (1n << BigInt(Math.floor(next() * 256))), low], [r, low ^ (1n << BigInt(Math.floor(next() * 250)))]);
    for (const [r, s] of cases) {
      const sig = Uint8Array.from([...bytes(r), ...bytes(s)]);
      const want = nodeVerify("sha256", message, { key: publicKey, dsaEncoding: "ieee-p1363" }, sig);
      assert.equal(m.p256Verify(x, y, message, sig), want, `${r} ${s}`);
      if (want) accepted++;
    }
    assert.ok(m.onP256(x, y) && !m.onP256(x, x) && !m.onP256(bytes(p), y));
  }
  assert.ok(accepted >= 6);
  // u·G + v·Q is the point at infinity when the message's hash is 0 − r·d.
  const G = [
    0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296n,
    0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5n,
  ];
  const message = of("00");
  const r = (n - (m.bigEndian(Uint8Array.from(createHash("sha256").update(message).digest())) % n)) % n; // d = 1
  assert.ok(!m.p256Verify(bytes(G[0]), bytes(G[1]), message, Uint8Array.from([...bytes(r), ...bytes(1n)])));
});

test("hashes are those of node:crypto", () => {
  const next = random(5);
  for (let n = 0; n < 600; n++) {
    const data = Uint8Array.from({ length: n }, () => next() * 256);
    for (const name of ["sha256", "sha512"]) {
      assert.deepEqual(m[name](data), Uint8Array.from(createHash(name).update(data).digest()), `${name} of ${n} bytes`);
    }
  }
  const large = new Uint8Array(300_000).fill(7);
  for (const name of ["sha256", "sha512"]) assert.deepEqual(m[name](large), Uint8Array.from(createHash(name).update(large).digest()));
});

test("ed25519 agrees with node:crypto on altered signatures", () => {
  const next = random(11);
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const x = Uint8Array.from(Buffer.from(publicKey.export({ format: "jwk" }).x, "base64url"));
  const key = m.edPublicKey(x);
  for (let i = 0; i < 60; i++) {
    const message = Uint8Array.from({ length: 40 }, () => next() * 256);
    const sig = Uint8Array.from(nodeSign(null, message, privateKey));
    if (i % 3 > 0) sig[Math.floor(next() * 64)] ^= 1 << Math.floor(next() * 8);
    assert.equal(m.edVerify(key, x, message, sig), nodeVerify(null, message, publicKey, sig));
  }
  // Keys that are no points, not canonical, or of small order.
  for (let i = 0; i < 40; i++) {
    const x = Uint8Array.from({ length: 32 }, () => next() * 256);
    const point = (() => {
      try {
        return Point.fromBytes(x, true);
      } catch {}
    })();
    const good = point !== undefined && point.isTorsionFree() && Buffer.from(point.toBytes()).equals(x);
    if (good) m.edPublicKey(x);
    else assert.throws(() => m.edPublicKey(x), /ed25519 key/);
  }
});

// The trees of n one-byte leaves, by the definition of RFC 9162 section 2.1.1.
const leaf = (i) => createHash("sha256").update(Uint8Array.of(0, i)).digest();
function tree(lo, hi) {
  if (hi - lo === 1) return leaf(lo);
  let k = 1;
  while (k * 2 < hi - lo) k *= 2;
  return createHash("sha256")
    .update(Uint8Array.of(1))
    .update(tree(lo, lo + k))
    .update(tree(lo + k, hi))
    .digest();
}

test("every leaf's path and multi-proof lead to the root", () => {
  for (let n = 1; n <= 20; n++) {
    const root = Uint8Array.from(tree(0, n));
    assert.deepEqual(m.treeRoot(Array.from({ length: n }, (_, i) => Uint8Array.of(i))), root);
    for (let i = 0; i < n; i++) {
      const path = [];
      for (let lo = 0, hi = n; hi - lo > 1; ) {
        const mid = lo + m.split(hi - lo);
        path.unshift(Uint8Array.from(i < mid ? tree(mid, hi) : tree(lo, mid)));
        if (i < mid) hi = mid;
        else lo = mid;
      }
      m.verifyInclusion(Uint8Array.of(i), i, n, root, path);
      assert.throws(() => m.verifyInclusion(Uint8Array.of(i), i, n, root, [...path, root]));
      assert.throws(() => m.verifyInclusion(Uint8Array.of(i), i + 1, n, root, path));
      if (path.length > 0) assert.throws(() => m.verifyInclusion(Uint8Array.of(i), i, n, root, path.slice(1)));
      for (let older = 1; older <= n; older++) {
        const proof = [];
        m.walk(n, [i, i + 1, older], (lo, hi) => {
          if (lo !== i || hi !== i + 1) proof.push(Uint8Array.from(tree(lo, hi)));
        });
        const leaves = [{ index: i, hash: Uint8Array.from(leaf(i)) }];
        const open = m.openMulti(n, leaves, [older], proof);
        assert.deepEqual(open(n), root);
        assert.deepEqual(open(older), Uint8Array.from(tree(0, older)));
        assert.throws(() => m.openMulti(n, leaves, [older], [...proof, root]), /too many/);
        if (proof.length > 0) assert.throws(() => m.openMulti(n, leaves, [older], proof.slice(1)), /too few/);
      }
    }
  }
  assert.throws(() => m.openMulti(0, [], [], []));
  assert.throws(() => m.openMulti(4, [{ index: 4, hash: leaf(4) }], [], []));
});

test("ledgers extend each other", () => {
  const prove = (older, n, lo, known) => {
    if (older === n) return known ? [] : [Uint8Array.from(tree(lo, lo + n))];
    const k = m.split(n);
    if (older <= k) return [...prove(older, k, lo, known), Uint8Array.from(tree(lo + k, lo + n))];
    return [...prove(older - k, n - k, lo + k, false), Uint8Array.from(tree(lo, lo + k))];
  };
  for (let n = 1; n <= 17; n++) {
    for (let older = 1; older <= n; older++) {
      const [a, b] = [Uint8Array.from(tree(0, older)), Uint8Array.from(tree(0, n))];
      const path = prove(older, n, 0, true);
      m.verifyTreeConsistency(older, n, a, b, path);
      assert.throws(() => m.verifyTreeConsistency(older, n, a, b, [...path, a]));
      if (older < n) assert.throws(() => m.verifyTreeConsistency(older, n, b, b, path));
    }
  }
});

test("means are rounded half away from zero", () => {
  const mean = (sum, covered) => m.mean({ sum, covered });
  for (const [sum, covered, want] of [
    [5n, 10, 1],
    [-5n, 10, -1],
    [4n, 10, 0],
    [-4n, 10, 0],
    [15n, 10, 2],
    [9223372036854775807n, 281474976710655, 32768],
  ]) {
    assert.ok(Object.is(mean(sum, covered), want) || mean(sum, covered) === want, `${sum}/${covered}`);
    assert.equal(mean(sum, covered), want);
  }
});

test("tags name items as GS1 does", () => {
  const name = (hex) => m.sgtin(of(hex));
  assert.deepEqual(name("3074257BF7194E4000001A85"), { gtin: "80614141123458", serial: "6789" });
  assert.deepEqual(name("301800000000000000000000"), { gtin: "00000000000000", serial: "0" });
  assert.deepEqual(name("30E3A352943FFE7FFFFFFFFF"), { gtin: "99999999999997", serial: "274877906943" });
  assert.deepEqual(name("3046022E9A69C3000000002A"), { gtin: "16901234567820", serial: "42" });
  for (const hex of ["311BA1B300CE0A6A83000000", "3074257BF7194E4000001A", "301C00000000000000000000", "30FFFFFFFFFFFFFFFFFFFFFF"])
    assert.equal(name(hex), undefined, hex);
});

test("tags name objects as the Go side says", () => {
  const golden = JSON.parse(readFileSync(new URL("../../../internal/epc/testdata/objects.json", import.meta.url), "utf8"));
  for (const { Tag, URI } of golden) assert.equal(m.tagUri(of(Tag)), URI, Tag);
  assert.ok(golden.filter((g) => g.URI !== "").length > 100);
  for (const { URI } of golden) assert.equal(m.isSerialised(URI), URI.includes("/21/"), URI);
  for (const uri of ["", "https://id.gs1.org/01/09506000134352/21/a%2fb", "https://id.gs1.org/01/09506000134352/21/%", "https://id.gs1.org/01/09506000134353/21/1", "https://id.gs1.org/01/09506000134352/21/%FF"])
    assert.equal(m.isSerialised(uri), false, uri);
});

test("a build without journeys says so", async () => {
  const slim = bare("verify-slim.js");
  const { header, body } = m.parseCase(readFileSync(new URL("passport-journey-on-a-pallet.txt", vectors), "utf8"));
  const check = ({ verify, parseTrust }) => verify(body, parseTrust(of(header.get("trust"))), Number(header.get("at")));
  assert.throws(
    () => check(slim),
    (e) => e instanceof slim.Unsupported,
  );
  assert.equal(check(bare("verify.js")).legs[0].carriers.length, 1);
});

test("mutated cases are refused, never crashed on", () => {
  const next = random(7);
  let refused = 0;
  for (const file of readdirSync(vectors).filter((f) => f.endsWith(".txt") && !f.startsWith("passport"))) {
    const text = readFileSync(new URL(file, vectors), "utf8");
    const cut = text.indexOf("\n\n") + 2;
    for (let i = 0; i < 12; i++) {
      const body = m.unhex(text.slice(cut).replace(/\n/g, ""));
      for (let k = 0; k < 1 + (i % 3); k++) body[Math.floor(next() * body.length)] = Math.floor(next() * 256);
      const end = next() < 0.2 ? Math.floor(next() * body.length) : body.length;
      const { error, crash } = m.judge(text.slice(0, cut) + m.hex(body.subarray(0, end)));
      assert.equal(crash, undefined, file);
      if (error !== undefined) refused++;
    }
  }
  assert.ok(refused > 300);
});
