// ES256: NIST P-256 (FIPS 186-5, SP 800-186). A build without it resolves "#p256"
// to p256-none.ts.

import { weierstrass, type WeierstrassPointCons } from "@noble/curves/abstract/weierstrass.js";
import { bigEndian } from "./bytes.ts";
import { need } from "./fail.ts";
import { sha256 } from "./hash.ts";

export const p = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn; // of the field
export const n = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n; // of the base point
const a = p - 3n;
const b = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;

/** Reports whether the big-endian coordinates are those of a point of the curve. */
export function onP256(x: Uint8Array, y: Uint8Array): boolean {
  const X = bigEndian(x);
  const Y = bigEndian(y);
  return X < p && Y < p && (X * X * X + a * X + b - Y * Y) % p === 0n;
}

// Made at the first signature, for a build that never sees one.
let curve: WeierstrassPointCons<bigint> | undefined;

/**
 * Reports whether sig (r ‖ s, 64 bytes) is the signature over
 * message by the key with coordinates x and y, which the caller has checked
 * (FIPS 186-5 section 6.4.2).
 */
export function p256Verify(x: Uint8Array, y: Uint8Array, message: Uint8Array, sig: Uint8Array): boolean {
  curve ||= weierstrass({
    p,
    n,
    h: 1n,
    a,
    b,
    Gx: 0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296n,
    Gy: 0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5n,
  });
  const r = bigEndian(sig.subarray(0, 32));
  const s = bigEndian(sig.subarray(32));
  need(s <= n >> 1n, "es256 signature has s over n/2"); // only that form is ours
  if (r === 0n || r >= n || s === 0n) return false;
  const w = curve.Fn.inv(s);
  const u = (bigEndian(sha256(message)) * w) % n;
  const v = (r * w) % n;
  const Q = curve.fromAffine({ x: bigEndian(x), y: bigEndian(y) });
  const R = curve.BASE.multiplyUnsafe(u).add(Q.multiplyUnsafe(v));
  return !R.is0() && R.toAffine().x % n === r;
}
