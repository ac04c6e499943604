// Statements: COSE_Sign1 (RFC 9052) with exactly four protected headers.
// docs/wire-format.md section 2 is normative.

import { concat, equal, hex, utf8 } from "./bytes.ts";
import { anyText, bytes, bytesHead, decode, hash, int, maxMessage, struct, take, textOf, tuple, type Read } from "./cbor.ts";
import { need } from "./fail.ts";
import { sha256 } from "./hash.ts";
import { EdDSA, ES256, verifySignature, type Key } from "./key.ts";
import { isKind, type Kind } from "./payload.ts";

/** A decoded statement; nothing is said of who signed it. */
export interface Statement {
  readonly alg: number;
  readonly kid: Uint8Array;
  readonly issuer: string;
  readonly subject: string; // the stream; of a device its epoch in decimal
  readonly audience: string;
  readonly kind: Kind;
  readonly payload: Uint8Array;
  readonly id: Uint8Array; // SHA-256 of the Sig_structure, never of signature bytes
  readonly entry: Uint8Array; // what the ledger records: SHA-256 of the encoded statement
  readonly tbs: Uint8Array;
  readonly signature: Uint8Array;
}

const readProtected = struct(
  { alg: int, kid: hash, claims: struct({ iss: textOf(1, 256), sub: textOf(0, 256), aud: textOf(0, 256) }), typ: anyText },
  [1, 4, 15, 16],
);

const prefix = "application/vnd.trailmark.";
const noHeaders: Read<void> = () => need(take(0xa0), "statement has unprotected headers");
const readEnvelope = tuple({ header: bytes, none: noHeaders, payload: bytes, signature: bytes });

/** Decodes a statement and refuses every form but the deterministic one. */
export function parseStatement(data: Uint8Array): Statement {
  need(data[0] === 0xd2, "not a tagged COSE_Sign1");
  const { header, payload, signature } = decode(data.subarray(1), readEnvelope, maxMessage - 1);
  need(signature.length === 64, `signature of ${signature.length} bytes, want 64`);
  const { alg, kid, claims, typ } = decode(header, readProtected);
  const kind = typ.slice(prefix.length, -5);
  need(typ === prefix + kind + "+cbor" && isKind(kind), "statement type is not one this version knows");
  need(alg === EdDSA || alg === ES256, `algorithm ${alg} is neither EdDSA nor ES256`);
  const tbs = sigStructure(header, payload);
  return {
    alg,
    kid,
    issuer: claims.iss,
    subject: claims.sub,
    audience: claims.aud,
    kind,
    payload,
    id: sha256(tbs),
    entry: sha256(data),
    tbs,
    signature,
  };
}

/** RFC 9052's Sig_structure of a COSE_Sign1 without external data. */
export function sigStructure(header: Uint8Array, payload: Uint8Array): Uint8Array {
  return concat([0x84, 0x6a], utf8("Signature1"), bytesHead(header.length), header, [0x40], bytesHead(payload.length), payload);
}

/** Throws unless key signed the statement, for this audience. */
export function verifyStatement(s: Statement, key: Key, audience: string): void {
  need(s.audience === audience, `statement is for audience "${s.audience}", not "${audience}"`);
  need(equal(s.kid, key.id), `statement names key ${short(s.kid)}, not ${short(key.id)}`);
  verifySignature(key, s.alg, s.tbs, s.signature);
}

/** The start of a hash, for people. */
/* @__NO_SIDE_EFFECTS__ */
export const short = (b: Uint8Array): string => hex(b).slice(0, 8) + "…";
