// COSE Receipts (RFC 9942) in the RFC 9162 SHA-256 profile: the proof that a
// ledger entry is in the tree whose root the log signed.

import { equal } from "./bytes.ts";
import { bytes, decode, hash, int, list, struct, take, textOf, tuple, uint53, type Of, type Read } from "./cbor.ts";
import { need } from "./fail.ts";
import { EdDSA, verifySignature, type Key } from "./key.ts";
import type { Checkpoint } from "./note.ts";
import { short, sigStructure } from "./statement.ts";
import { rootFromPath } from "./tree.ts";

// Origin and Unix seconds are the claims.
const readHeader = struct({ alg: int, kid: hash, claims: struct({ iss: textOf(0, 256), iat: uint53 }, [1, 6]), vds: int }, [1, 4, 15, 395]);

/** What a receipt's protected header says. */
function parseHeader(data: Uint8Array): Of<typeof readHeader> {
  const h = decode(data, readHeader);
  need(h.alg === EdDSA, `receipt of algorithm ${h.alg}, want EdDSA`);
  need(h.vds === 1, "receipt is not of the RFC 9162 profile");
  return h;
}

/** The part of a receipt that does not depend on the statement. */
export interface RootSignature {
  header: Uint8Array;
  signature: Uint8Array;
}

/** Throws unless the log signed the root of the checkpoint, opened with the same key. */
export function verifyRoot(s: RootSignature, c: Checkpoint, logKey: Key): void {
  const { kid, claims } = parseHeader(s.header);
  need(equal(kid, logKey.id), `receipt names key ${short(kid)}, not the log's`);
  need(claims.iss === c.origin, `receipt is of "${claims.iss}", the checkpoint of "${c.origin}"`);
  verifySignature(logKey, EdDSA, sigStructure(s.header, c.root), s.signature);
}

/** A decoded receipt; nothing in it is verified. */
export interface Receipt extends RootSignature {
  origin: string;
  size: number;
  index: number;
  path: Uint8Array[];
}

const readProofs = struct({ proofs: struct({ inclusion: list(bytes) }, [-1]) }, [396]);
const readInclusion = tuple({ size: uint53, index: uint53, path: list(hash, 0, 64) });
const detached: Read<void> = () => need(take(0xf6), "receipt has a payload");
const readEnvelope = tuple({ header: bytes, unprotected: readProofs, payload: detached, signature: bytes });

/** Decodes a receipt in the one form that the wire format gives it. */
export function parseReceipt(data: Uint8Array): Receipt {
  need(data[0] === 0xd2, "not a tagged COSE_Sign1");
  const { header, unprotected, signature } = decode(data.subarray(1), readEnvelope);
  const { claims } = parseHeader(header);
  const { inclusion } = unprotected.proofs;
  need(inclusion.length === 1, `receipt of ${inclusion.length} inclusion proofs, want one`);
  const { size, index, path } = decode(inclusion[0], readInclusion);
  need(index < size, "receipt out of bounds");
  return { origin: claims.iss, size, index, path, header, signature };
}

/** Throws unless the entry is in the tree of the checkpoint, opened with the same key. */
export function verifyReceipt(r: Receipt, entry: Uint8Array, c: Checkpoint, logKey: Key): void {
  need(
    r.origin === c.origin && r.size === c.size,
    `receipt is of "${r.origin}" at size ${r.size}, the checkpoint of "${c.origin}" at ${c.size}`,
  );
  need(equal(rootFromPath(entry, r.index, r.size, r.path), c.root), "receipt does not lead to the checkpoint's root");
  verifyRoot(r, c, logKey);
}
