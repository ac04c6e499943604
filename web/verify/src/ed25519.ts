// Ed25519 exactly as Go's crypto/ed25519 judges it.
//
// The noble library's own verify is cofactored: a signer who adds a point of
// small order to R makes signatures that it accepts and Go refuses, so that two
// verifiers would give two answers on one passport. Here R is recomputed and
// compared bit for bit, the cofactorless rule that the wire format names.

import { Point } from "@noble/ed25519";
import { concat, littleEndian } from "./bytes.ts";
import { fail, need } from "./fail.ts";
import { sha512 } from "./hash.ts";

export type EdPoint = Point;

const order = 0x1000000000000000000000000000000014def9dea2f79cd65812631a5cf5d3edn; // of the base point

// The base point (RFC 8032 section 5.1), of which 31 bytes are alike.
const base = Point.fromBytes(concat([0x58], new Uint8Array(31).fill(0x66)), true);

/** The encoding of a point (RFC 8032 section 5.1.2) as a little-endian number. */
function encoded(p: Point): bigint {
  const { x, y } = p.toAffine();
  return y | ((x & 1n) << 255n);
}

/** s·P + h·Q, both scalars in one run over their bits (Straus). Nothing here is secret. */
function sumOfProducts(s: bigint, P: Point, h: bigint, Q: Point): Point {
  const both = P.add(Q);
  let sum = Point.ZERO;
  for (let bit = 1n << 252n; bit > 0n; bit >>= 1n) {
    sum = sum.double();
    if (s & bit) sum = sum.add(h & bit ? both : P);
    else if (h & bit) sum = sum.add(Q);
  }
  return sum;
}

/** Decodes a public key and refuses all but canonical points of prime order. */
export function edPublicKey(x: Uint8Array): EdPoint {
  let p: Point;
  try {
    p = Point.fromBytes(x, true);
  } catch {
    fail("ed25519 key is not a point");
  }
  need(encoded(p) === littleEndian(x), "ed25519 key is not canonically encoded");
  need(!p.is0() && sumOfProducts(order, p, 0n, p).is0(), "ed25519 key is not of prime order");
  return p;
}

/** Reports whether sig (64 bytes) is key's signature over message; x is key's encoding. */
export function edVerify(key: EdPoint, x: Uint8Array, message: Uint8Array, sig: Uint8Array): boolean {
  const r = sig.subarray(0, 32);
  const s = littleEndian(sig.subarray(32));
  const h = littleEndian(sha512(concat(r, x, message))) % order;
  return s < order && encoded(sumOfProducts(s, base, h, key.negate())) === littleEndian(r);
}
