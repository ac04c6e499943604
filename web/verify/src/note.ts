// Ledger checkpoints: C2SP signed notes with a tlog-checkpoint text.

import { maxInt } from "./cbor.ts";
import { base64, concat, equal, text, utf8 } from "./bytes.ts";
import { about, need } from "./fail.ts";
import { sha256 } from "./hash.ts";
import { EdDSA, verifySignature, type Key } from "./key.ts";

/** A ledger's head whose log signature was verified. */
export interface Checkpoint {
  origin: string;
  size: number;
  root: Uint8Array;
}

const maxCheckpoint = 65536; // bytes, with all cosignatures
const maxSignatures = 100;

// A key name has neither "+" nor a space as Unicode sees it; \s of JavaScript
// differs from that by U+0085 and U+FEFF.
export const validName = (name: string): boolean => /^(?:[^\s\x85+]|\ufeff)+$/.test(name);

/** The first line of a note: the ledger it claims to be of; "" when it is no text. */
export function originOf(note: Uint8Array): string {
  const end = note.indexOf(0x0a);
  return text(end < 0 ? note : note.subarray(0, end)) || "";
}

/** Verifies a checkpoint against the log key pinned for its origin. */
export function openCheckpoint(note: Uint8Array, origin: string, logKey: Key): Checkpoint {
  need(note.length <= maxCheckpoint, `checkpoint of ${note.length} bytes is over the limit of ${maxCheckpoint}`);
  need(logKey.point && validName(origin), "checkpoint's log key is not Ed25519, or its origin no name");
  const [first, digits, digest, rest] = verifyNote(note, origin, logKey).split("\n");
  const root = base64(digest || "");
  const size = Number(digits);
  need(
    rest !== undefined && first === origin && /^\d+$/.test(digits) && size <= maxInt && root && root.length === 32,
    "checkpoint of another origin, or out of bounds",
  );
  return { origin, size, root };
}

/** Returns the text of a note that the key of this name signed. */
function verifyNote(note: Uint8Array, name: string, key: Key): string {
  const malformed = "checkpoint is a malformed note";
  const whole = text(note);
  need(whole !== undefined && !/[\0-\t\v-\x1f]/.test(whole), malformed);
  const at = whole.lastIndexOf("\n\n");
  const lines = whole.slice(at + 2).split("\n");
  need(at >= 0 && lines.length > 1 && lines.pop() === "" && lines.length <= maxSignatures, malformed);
  const signed = whole.slice(0, at + 1);
  const hash = sha256(concat(utf8(name + "\n"), [1], key.x)).subarray(0, 4);
  let verified = false;
  for (const line of lines) {
    const [, who, b64] = /^\u2014 ([^ ]*) (.+)$/.exec(line) || [];
    const sig = base64(b64 || "");
    need(validName(who || "") && sig && sig.length > 4, malformed);
    if (verified || who !== name || !equal(sig.subarray(0, 4), hash)) continue;
    about("checkpoint", () => verifySignature(key, EdDSA, utf8(signed), sig.subarray(4)));
    verified = true;
  }
  need(verified, "checkpoint is not signed by the log's key");
  return signed;
}
