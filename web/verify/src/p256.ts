// ES256 signatures. A build without them resolves "#p256" to p256-none.ts.

import { ecdsa, weierstrass, type ECDSA } from "@noble/curves/abstract/weierstrass.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { concat } from "./bytes.ts";
import { p256 } from "./p256-curve.ts";

// Made at the first signature: it holds multiples of the base point, which take
// longer to compute than a signature to check.
let scheme: ECDSA | undefined;

/**
 * Reports whether sig (r ‖ s, 64 bytes) is the signature over message by the
 * key with coordinates x and y, which the caller has checked.
 */
export const p256Verify: ((x: Uint8Array, y: Uint8Array, message: Uint8Array, sig: Uint8Array) => boolean) | undefined = (
  x,
  y,
  message,
  sig,
) => {
  scheme ||= ecdsa(weierstrass(p256()), sha256);
  return scheme.verify(sig, message, concat(Uint8Array.of(4), x, y), { lowS: true, prehash: true, format: "compact" });
};
