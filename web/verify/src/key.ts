// Public keys: COSE_Key (RFC 9052) named by its thumbprint (RFC 9679).

import { decode, hash, hashed, int, optional, struct, type Read } from "./cbor.ts";
import { edPublicKey, edVerify, type EdPoint } from "./ed25519.ts";
import { need } from "./fail.ts";
import { onP256, p256Verify } from "#p256";

/** Algorithms of statements (COSE registry). */
export const EdDSA = -8;
export const ES256 = -7;

/** A checked public key; only readKey makes one. */
export interface Key {
  readonly id: Uint8Array; // RFC 9679 thumbprint
  readonly alg: number;
  readonly x: Uint8Array;
  readonly y?: Uint8Array; // of P-256
  readonly point?: EdPoint; // of Ed25519
}

const coseKey = hashed(struct({ kty: int, crv: int, x: hash, y: optional(hash) }, [1, -1, -2, -3]));

/** Reads a COSE_Key with exactly the members that RFC 9679 hashes. */
export const readKey: Read<Key> = () => {
  const { kty, crv, x, y, hash: id } = coseKey();
  if (kty === 1 && crv === 6 && !y) return { id, alg: EdDSA, x, point: edPublicKey(x) };
  need(kty === 2 && crv === 1 && y, "cose key is neither Ed25519 nor P-256");
  need(onP256(x, y), "cose key is not a point of P-256");
  return { id, alg: ES256, x, y };
};

/** Decodes a COSE_Key. */
export function parseKey(data: Uint8Array): Key {
  return decode(data, readKey);
}

/** Throws unless sig is key's signature of algorithm alg over tbs. */
export function verifySignature(key: Key, alg: number, tbs: Uint8Array, sig: Uint8Array): void {
  const { x, y, point } = key;
  need(alg === key.alg, `algorithm ${alg} does not go with a key for ${key.alg}`);
  need(sig.length === 64 && (point ? edVerify(point, x, tbs, sig) : p256Verify(x, y!, tbs, sig)), "signature does not verify");
}
