// Keccak-256 as Ethereum has it: the sponge of FIPS 202 with the padding from
// before it became a standard. The library's own is of many variants and streams,
// and twice as large.

import { keccakP } from "@noble/hashes/sha3.js";
import { concat } from "./bytes.ts";

const rate = 136; // bytes

export function keccak256(data: Uint8Array): Uint8Array {
  const padded = concat(data, new Uint8Array(rate - (data.length % rate)));
  padded[data.length] = 1;
  padded[padded.length - 1] |= 0x80;
  const state = new Uint32Array(50); // lanes of 64 bits, low half first
  padded.forEach((v, i) => {
    const at = i % rate;
    state[at >> 2] ^= v << (8 * (at & 3));
    if (at === rate - 1) keccakP(state);
  });
  return Uint8Array.from({ length: 32 }, (_, i) => state[i >> 2] >>> (8 * (i & 3)));
}
