// Statements: COSE_Sign1 (RFC 9052) with exactly four protected headers.
// docs/wire-format.md section 2 is normative.

import { concat, equal, hex, utf8 } from "./bytes.ts";
import { anyText, bytes, bytesHead, decode, hash, int, maxMessage, struct, textOf, tuple, type Read } from "./cbor.ts";
import { need } from "./fail.ts";
import { sha256 } from "./hash.ts";
import { EdDSA, ES256, verifySignature, type Key } from "./key.ts";
import type { Kind } from "./payload.ts";

/** Roles of identity statements: what the authority lets a key sign. */
export const roleDevice = 1;
export const roleSite = 2;
export const roleBrand = 3;
export const roleOrganisation = 4;
export const roleAuthority = 5;

const roles: Record<Kind, number> = {
  frame: roleDevice,
  identity: roleAuthority,
  keystatus: roleAuthority,
  plan: roleSite,
  product: roleBrand,
  handover: roleOrganisation,
  acceptance: roleOrganisation,
  event: roleOrganisation,
  erasure: roleSite,
};

/** The role whose keys sign statements of a kind. */
export function roleOf(kind: Kind): number {
  return roles[kind];
}

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

const readProtected = struct({
  alg: [1, int],
  kid: [4, hash],
  claims: [15, struct({ iss: [1, textOf(1, 256)], sub: [2, textOf(0, 256)], aud: [3, textOf(0, 256)] })],
  typ: [16, anyText],
});

const prefix = "application/vnd.trailmark.";
const noHeaders: Read<void> = (r) => need(r.take(0xa0), "statement has unprotected headers");
const readEnvelope = tuple({ header: bytes, none: noHeaders, payload: bytes, signature: bytes });

/** Decodes a statement and refuses every form but the deterministic one. */
export function parseStatement(data: Uint8Array): Statement {
  need(data[0] === 0xd2, "not a tagged COSE_Sign1");
  const { header, payload, signature } = decode(data.subarray(1), readEnvelope, maxMessage - 1);
  need(signature.length === 64, `signature of ${signature.length} bytes, want 64`);
  const { alg, kid, claims, typ } = decode(header, readProtected);
  const kind = typ.slice(prefix.length, -5) as Kind;
  need(typ === prefix + kind + "+cbor" && roles.hasOwnProperty(kind), "statement type is not one this version knows");
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
  const context = [0x84, 0x6a, ...utf8("Signature1"), ...bytesHead(header.length)];
  return concat(Uint8Array.from(context), header, Uint8Array.from([0x40, ...bytesHead(payload.length)]), payload);
}

/** Throws unless key signed the statement, for this audience. */
export function verifyStatement(s: Statement, key: Key, audience: string): void {
  need(s.audience === audience, `statement is for audience "${s.audience}", not "${audience}"`);
  need(equal(s.kid, key.id), `statement names key ${short(s.kid)}, not ${short(key.id)}`);
  verifySignature(key, s.alg, s.tbs, s.signature);
}

/** The start of a hash, for people. */
export function short(b: Uint8Array): string {
  return hex(b).slice(0, 8) + "…";
}
