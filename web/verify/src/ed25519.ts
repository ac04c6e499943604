// Ed25519 exactly as Go's crypto/ed25519 judges it.
//
// The noble library's own verify is cofactored: a signer who adds a point of
// small order to R makes signatures that it accepts and Go refuses, so that two
// verifiers would give two answers on one passport. Here R is recomputed and
// compared byte for byte, the cofactorless rule that the wire format names.

import { Point, etc } from "@noble/ed25519";
import { sha512 } from "@noble/hashes/sha2.js";
import { concat, equal, hex } from "./bytes.ts";
import { need } from "./fail.ts";

export type EdPoint = Point;

function littleEndian(b: Uint8Array): bigint {
  return BigInt("0x" + hex(b.slice().reverse()));
}

/** Decodes a public key and refuses all but canonical points of prime order. */
export function edPublicKey(x: Uint8Array): EdPoint {
  let p: Point;
  try {
    p = Point.fromBytes(x, true);
  } catch {
    throw new Error("ed25519 key is not a point");
  }
  need(equal(p.toBytes(), x), "ed25519 key is not canonically encoded");
  need(!p.is0() && p.isTorsionFree(), "ed25519 key is not of prime order");
  return p;
}

/** Reports whether sig (64 bytes) is key's signature over message; x is key's encoding. */
export function edVerify(key: EdPoint, x: Uint8Array, message: Uint8Array, sig: Uint8Array): boolean {
  const order = Point.CURVE().n;
  const r = sig.subarray(0, 32);
  const s = littleEndian(sig.subarray(32));
  if (s >= order) return false;
  const h = etc.mod(littleEndian(sha512(concat(r, x, message))), order);
  const R = Point.BASE.multiply(s, false).subtract(key.multiply(h, false));
  return equal(R.toBytes(), r);
}
