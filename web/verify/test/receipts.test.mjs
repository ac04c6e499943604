// Receipts as other implementations judge them: @transmute/cose reads a receipt
// (RFC 9942) and recomputes the root from entry and path (RFC 9162); as it has no
// algorithm but ECDSA, @ldclabs/cose-ts makes the Sig_structure (RFC 9052) and
// checks EdDSA.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import test from "node:test";
import * as cose from "@transmute/cose";
import { build } from "esbuild";
import { load, vectors } from "../testkit/engine.mjs";

const m = await load("bytes.ts", "key.ts", "note.ts", "passport/format.ts", "passport/trust.ts", "tree.ts", "vectors.ts");
const { Unprotected, VerifiableDataProofTypes, VerifiableDataStructure } = cose;
const inclusion = VerifiableDataProofTypes["RFC9162-Inclusion-Proof"];
const own = (b) => Uint8Array.from(b); // the libraries tell their own kinds of bytes apart

// The golden cases whose names begin so.
function golden(prefix) {
  return readdirSync(vectors)
    .filter((f) => f.startsWith(prefix) && f.endsWith(".txt"))
    .map((f) => ({ name: f.slice(0, -4), ...m.parseCase(readFileSync(new URL(f, vectors), "utf8")) }));
}

// Node does not find the modules of @ldclabs/cose-ts, which name each other
// without extensions.
const { outputFiles } = await build({
  stdin: {
    contents: 'export * from "@ldclabs/cose-ts/sign1"; export * from "@ldclabs/cose-ts/ed25519"; export * from "@ldclabs/cose-ts/header";',
    resolveDir: new URL(".", import.meta.url).pathname,
  },
  bundle: true,
  format: "esm",
  write: false,
});
const { Ed25519Key, Header, Sign1Message } = await import("data:text/javascript;base64," + Buffer.from(outputFiles[0].contents).toString("base64"));

// Whether the log signed the root under this protected header.
function signed(header, root, signature, logKey) {
  const key = Ed25519Key.fromPublic(own(logKey.x));
  return Header.fromBytes(own(header)).getInt(1) === key.alg && key.verify(Sign1Message.signBytes(own(root), own(header)), own(signature));
}

// The root that the entry and the receipt's path lead to; throws unless the log
// signed it.
async function rootOf(receipt, entry, logKey) {
  let root;
  await cose.receipt.inclusion.verify({
    receipt,
    entry: await cose.receipt.leaf(entry),
    verifier: {
      verify({ coseSign1, payload }) {
        const [header, , , signature] = cose.cbor.decode(coseSign1).value;
        assert.ok(signed(header, payload, signature, logKey), "signature does not verify");
        root = own(payload);
      },
    },
  });
  return root;
}

// The size of the tree that a receipt is of.
function sizeOf(receipt) {
  const [proof] = cose.cbor.decode(receipt).value[1].get(Unprotected.VerifiableDataProofs).get(inclusion);
  return cose.cbor.decode(proof)[0];
}

// They are not told which ledger a receipt is to be of.
const beyond = "receipt-another-origin";

test("receipts", async (t) => {
  const stand = [];
  const cases = golden("receipt");
  for (const { name, header, body } of cases) {
    const unhex = (name) => own(Buffer.from(header.get(name), "hex"));
    const logKey = m.parseKey(unhex("logkey"));
    const checkpoint = m.openCheckpoint(unhex("checkpoint"), header.get("origin"), logKey);
    const root = await rootOf(body, unhex("entry"), logKey).catch(() => undefined);
    const stands = root !== undefined && m.equal(root, checkpoint.root) && sizeOf(body) === checkpoint.size;
    assert.equal(stands, header.get("expect") === "ok" || name === beyond, name);
    if (stands) stand.push(name);
  }
  assert.ok(stand.length > 1 && stand.length < cases.length);
  t.diagnostic(`${cases.length} receipts, of which ${stand.join(", ")} stand`);
});

test("an altered receipt falls", async () => {
  const { header, body } = golden("receipt.")[0];
  const [entry, key] = ["entry", "logkey"].map((name) => own(Buffer.from(header.get(name), "hex")));
  const logKey = m.parseKey(key);
  assert.ok(await rootOf(body, entry, logKey));
  for (let i = 0; i < body.length; i++) {
    const altered = body.slice();
    altered[i] ^= 1;
    await assert.rejects(rootOf(altered, entry, logKey), undefined, `byte ${i}`);
  }
  for (const i of [0, 31]) {
    const altered = entry.slice();
    altered[i] ^= 1;
    await assert.rejects(rootOf(body, altered, logKey), /signature does not verify/);
  }
});

test("the log's signatures in passports", async (t) => {
  let ledgers = 0;
  for (const { name, header, body } of golden("passport-")) {
    if (header.get("expect") !== "ok") continue;
    const { logs } = m.parseTrust(own(Buffer.from(header.get("trust"), "hex")));
    for (const { newest, signature } of m.parsePassport(body, m.maxAudit).ledgers) {
      const { origin, key } = logs.find((l) => l.origin === m.originOf(newest.note));
      const { root } = m.openCheckpoint(newest.note, origin, key);
      assert.ok(signed(signature.header, root, signature.signature, key), name);
      root[0] ^= 1;
      assert.ok(!signed(signature.header, root, signature.signature, key), name);
      ledgers++;
    }
  }
  assert.ok(ledgers >= 30);
  t.diagnostic(`${ledgers} signatures`);
});

test("paths of the other's trees are read here", async () => {
  const signer = { sign: async (receipt) => receipt };
  const protectedHeader = new Map([[VerifiableDataStructure, 1]]);
  for (let size = 1; size <= 17; size++) {
    const entries = Array.from({ length: size }, (_, i) => Uint8Array.of(i));
    const leaves = await Promise.all(entries.map(cose.receipt.leaf));
    for (let i = 0; i < size; i++) {
      const { payload, unprotectedHeader } = await cose.receipt.inclusion.issue({ protectedHeader, entry: i, entries: leaves, signer });
      const [n, index, path] = cose.cbor.decode(unprotectedHeader.get(Unprotected.VerifiableDataProofs).get(inclusion)[0]);
      assert.deepEqual([n, index], [size, i]);
      assert.deepEqual(own(payload), m.treeRoot(entries));
      assert.deepEqual(m.rootFromPath(entries[i], i, size, path.map(own)), own(payload));
    }
  }
});
