// NIST P-256 (FIPS 186-5, SP 800-186): its parameters, and whether a point is
// on it. A few lines of BigInt suffice for that in builds without ES256.

import { hex } from "./bytes.ts";

/** The curve's parameters, all in hex of 256 bits. */
export function p256() {
  const n = (s: string) => BigInt("0x" + s);
  return {
    p: n("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff"),
    n: n("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    h: BigInt(1),
    a: n("ffffffff00000001000000000000000000000000fffffffffffffffffffffffc"),
    b: n("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"),
    Gx: n("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
    Gy: n("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
  };
}

/** Reports whether the big-endian coordinates are those of a point of the curve. */
export function onP256(x: Uint8Array, y: Uint8Array): boolean {
  const { p, a, b } = p256();
  const X = BigInt("0x" + hex(x));
  const Y = BigInt("0x" + hex(y));
  return X < p && Y < p && (X * X * X + a * X + b - Y * Y) % p === BigInt(0);
}

/** Reports whether s (big-endian) is at most half the order: only that form is ours. */
export function isLowS(s: Uint8Array): boolean {
  return BigInt("0x" + hex(s)) <= p256().n >> BigInt(1);
}
