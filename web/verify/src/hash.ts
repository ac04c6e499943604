// SHA-256, SHA-512 and the RFC 9162 hashes of leaves and nodes.

import { _SHA256, _SHA512 } from "@noble/hashes/sha2.js";
import { concat } from "./bytes.ts";

/** What is under the library's streams: blocks of a view go into a state of 32-bit words. */
interface Compression {
  process(view: DataView, offset: number): void;
  get(): number[];
}

/** Pads a message (FIPS 180-4 section 5.1) and compresses its blocks of so many bytes. */
function digest(hash: object, block: number, message: Uint8Array): Uint8Array {
  const h = hash as Compression;
  const size = Math.ceil((message.length + 1 + block / 8) / block) * block;
  const padded = new Uint8Array(size);
  padded.set(message);
  padded[message.length] = 128;
  const view = new DataView(padded.buffer);
  view.setUint32(size - 8, message.length / 536870912); // the length in bits
  view.setUint32(size - 4, message.length * 8);
  for (let at = 0; at < size; at += block) h.process(view, at);
  const words = h.get();
  words.forEach((word, i) => view.setUint32(4 * i, word));
  return padded.slice(0, 4 * words.length);
}

export const sha256 = (message: Uint8Array): Uint8Array => digest(new _SHA256(), 64, message);
export const sha512 = (message: Uint8Array): Uint8Array => digest(new _SHA512(), 128, message);

export function leafHash(leaf: Uint8Array): Uint8Array {
  return sha256(concat([0], leaf));
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(concat([1], left, right));
}
