// SHA-256 and the RFC 9162 hashes of leaves and nodes.

import { sha256 } from "@noble/hashes/sha2.js";
import { concat } from "./bytes.ts";

export { sha256 };

export function leafHash(leaf: Uint8Array): Uint8Array {
  return sha256(concat(Uint8Array.of(0), leaf));
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(concat(Uint8Array.of(1), left, right));
}
