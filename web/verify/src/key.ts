// Public keys: COSE_Key (RFC 9052) named by its thumbprint (RFC 9679).

import { decode, hash, int, optional, struct, type Read } from "./cbor.ts";
import { edPublicKey, edVerify, type EdPoint } from "./ed25519.ts";
import { need } from "./fail.ts";
import { sha256 } from "./hash.ts";
import { isLowS, onP256 } from "./p256-curve.ts";
import { p256Verify } from "#p256";

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

/** What a build without ES256 throws instead of judging: neither yes nor no. */
export class Unsupported extends Error {}

const coseKey = struct({ kty: [1, int], crv: [-1, int], x: [-2, hash], y: [-3, hash, optional] });

/** Reads a COSE_Key with exactly the members that RFC 9679 hashes. */
export const readKey: Read<Key> = (r) => {
  const [{ kty, crv, x, y }, encoded] = r.raw(coseKey);
  const id = sha256(encoded);
  if (kty === 1 && crv === 6 && y === undefined) return { id, alg: EdDSA, x, point: edPublicKey(x) };
  need(kty === 2 && crv === 1 && y !== undefined, "cose key is neither Ed25519 nor P-256");
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
  let ok = sig.length === 64;
  if (point !== undefined) {
    ok = ok && edVerify(point, x, tbs, sig);
  } else {
    need(ok && isLowS(sig.subarray(32)), "es256 signature has s over n/2");
    if (p256Verify === undefined) throw new Unsupported("this build does not check ES256");
    ok = p256Verify(x, y!, tbs, sig);
  }
  need(ok, "signature does not verify");
}
