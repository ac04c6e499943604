// Messages of devices (docs/wire-format.md section 5): their form, and that
// their records give the root that the frame signs. No passport has one; they
// are here so that every golden case is judged twice.

import { compare, concat, equal, utf8 } from "./bytes.ts";
import { bytes, bytesHead, decode, encodeInt, list, one, sized, tuple, uint } from "./cbor.ts";
import { need } from "./fail.ts";
import { sha256 } from "./hash.ts";
import { readPayload } from "./payload.ts";
import { readBody } from "./record.ts";
import { parseStatement } from "./statement.ts";
import { treeRoot } from "./tree.ts";

const readUp = tuple({ version: one, statement: bytes, seed: sized(32), bodies: list(tuple({ kind: uint, body: bytes })) });

/** Throws when a device's message is not one. Signatures are not checked. */
export function checkUp(data: Uint8Array): void {
  const up = decode(data, readUp);
  const s = parseStatement(up.statement);
  need(s.kind === "frame", `statement is of kind ${s.kind}, not frame`);
  const frame = readPayload(s.kind, s.payload);
  const outOfOrder = "records out of order";
  const words = "records do not give the frame's root";
  need(up.bodies.length === frame.count, words);
  const blocks: Uint8Array[] = [];
  const heads: Uint8Array[] = [];
  let last = 0;
  up.bodies.forEach(({ kind, body }) => {
    const b = decode(body, readBody(kind));
    need(kind >= last, outOfOrder);
    last = kind;
    if (b.block) {
      const channel = utf8(b.block.channel);
      need(blocks.length === 0 || compare(blocks[blocks.length - 1], channel) < 0, outOfOrder);
      blocks.push(channel);
    }
    if (b.head) heads.push(utf8(b.head.channel));
  });
  need(blocks.length === heads.length && blocks.every((b, i) => equal(b, heads[i])), outOfOrder);
  const records = up.bodies.map(({ kind, body }, i) => {
    const salt = hkdf(up.seed, i);
    return concat([0x83], bytesHead(16), salt, encodeInt(kind), body);
  });
  need(equal(treeRoot(records), frame.root), words);
}

/** The salt of record i: HKDF-SHA256 (RFC 5869) without salt, 16 bytes, which is one block. */
function hkdf(seed: Uint8Array, i: number): Uint8Array {
  const key = hmac(new Uint8Array(32), seed);
  const info = [(i >>> 24) & 255, (i >>> 16) & 255, (i >>> 8) & 255, i & 255, 1];
  return hmac(key, concat(utf8("trailmark record"), info)).subarray(0, 16);
}

/** HMAC-SHA256 (RFC 2104) with a key of 32 bytes. */
function hmac(key: Uint8Array, message: Uint8Array): Uint8Array {
  const pad = (v: number): Uint8Array => concat(key, new Uint8Array(32)).map((b) => b ^ v);
  return sha256(concat(pad(0x5c), sha256(concat(pad(0x36), message))));
}
