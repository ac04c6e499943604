// Witnesses: whose cosignatures a trust file asks for, and who cosigned the
// ledgers' checkpoints (C2SP tlog-cosignature, cosignature/v1).

import { base64, concat, equal, hex, text, utf8 } from "../bytes.ts";
import { anyText, between, checked, list, optional, struct, textOf, tuple, yes, type Of } from "../cbor.ts";
import { need } from "../fail.ts";
import { sha256 } from "../hash.ts";
import { EdDSA, readKey, verifySignature, type Key } from "../key.ts";
import { validName } from "../note.ts";
import { readPayload, type Identity } from "../payload.ts";
import { roleDevice } from "../role.ts";
import type { Check } from "./check.ts";
import { readChain } from "./format.ts";
import type { WitnessedBy } from "./verdict.ts";

const readWitness = tuple({ name: textOf(1, 256), key: readKey });

/** Who must have cosigned a checkpoint for a split view to be excluded. */
type Witnesses = Of<typeof readWitnesses>;
const readWitnesses = checked(
  struct({
    quorum: between(1, 64),
    named: list(readWitness, 0, 64),
    devices: optional(yes), // those that an authority vouches for count, too
  }),
  ({ quorum, named, devices }) => {
    need(devices || quorum <= named.length, `quorum of ${quorum} can never be had of ${named.length} witnesses`);
    named.forEach(({ name, key }, i) => {
      need(key.point && validName(name), `witness "${name}" has no name or no Ed25519 key`);
      need(!named.slice(0, i).some((w) => w.name === name || equal(w.key.id, key.id)), `witness "${name}" is given twice`);
    });
  },
);

/** A trust file. */
export const readTrust = checked(
  struct({
    version: between(1, 3),
    authorities: list(readKey, 1, 16),
    logs: list(tuple({ origin: anyText, key: readKey }), 1, 64),
    audience: anyText,
    chains: list(readChain, 0, 16),
    witnesses: optional(readWitnesses),
  }),
  ({ version, chains, witnesses }) =>
    need(version === (witnesses ? 3 : chains.some((c) => c.contract) ? 2 : 1), "trust file of another version than what it pins"),
);

/** A key whose cosignatures are checked. */
interface Cosigner {
  name: string;
  key: Key;
  device?: Identity; // undefined: a named witness
}

const latest = 281474976710; // s: their milliseconds are below 2^48

/** The keys whose cosignatures are checked. */
function cosigners({ evidence }: Check, { named, devices }: Witnesses): Cosigner[] {
  const out: Cosigner[] = named.slice();
  if (!devices) return out;
  const seen = new Set<string>();
  for (const { statement } of evidence) {
    if (statement.kind !== "identity") continue;
    const device = readPayload("identity", statement.payload);
    const kid = hex(device.key.id);
    if (device.role !== roleDevice || !device.key.point || seen.has(kid)) continue;
    seen.add(kid);
    out.push({ name: "trailmark/device/" + kid, key: device.key, device });
  }
  return out;
}

/**
 * Checks the lines of known keys on each ledger's newest checkpoint, and while no
 * quorum was found on the older ones, the largest first.
 */
export function cosignatures(c: Check): void {
  const asked = c.trust.witnesses;
  if (!asked) return;
  c.failing = "cosignature";
  const known = cosigners(c, asked);
  const ledgers = c.states.map(({ newest, older }, i) => {
    const { origin, size } = newest;
    const given = c.passport.ledgers[i];
    const of = { origin, size, reach: 0, cosigned: [] as WitnessedBy[] };
    for (let n = older.length; n >= 0 && of.reach === 0; n--) {
      const last = n === older.length;
      const by = cosigned(c, (last ? given.newest : given.older![n]).note, known);
      if (last) of.cosigned = by;
      if (by.length >= asked.quorum) of.reach = last ? size : older[n].size;
    }
    return of;
  });
  c.verdict.witnesses = { quorum: asked.quorum, devices: !!asked.devices, ledgers };
}

/** The distinct witnesses of a checkpoint's note that count. The note is known to be one. */
function cosigned(c: Check, note: Uint8Array, known: Cosigner[]): WitnessedBy[] {
  const whole = text(note) as string;
  const at = whole.lastIndexOf("\n\n");
  const signed = whole.slice(0, at + 1);
  const out: WitnessedBy[] = [];
  const counted = new Set<string>();
  const seen = new Set<string>();
  for (const line of whole.slice(at + 2).split("\n")) {
    const [, name, b64] = line.split(" ");
    for (const w of known) {
      const kid = hex(w.key.id);
      if (w.name !== name || seen.has(kid)) continue;
      const sig = base64(b64) as Uint8Array;
      const keyId = sha256(concat(utf8(name + "\n"), [4], w.key.x)).subarray(0, 4);
      if (!equal(sig.subarray(0, 4), keyId)) continue;
      seen.add(kid); // one line a key, or a file of copies would cost minutes
      const time = verified(signed, sig.subarray(4), w) * 1000;
      const device = c.ring.quantity(w.key.id, "");
      if (counted.has(device) || !counts(c, w, time)) continue;
      counted.add(device);
      const id = w.device;
      out.push({
        name,
        key: kid,
        time,
        device: !!id,
        label: id ? id.name || id.subject : "",
        simulated: !!(id && id.simulated),
      });
    }
  }
  return out;
}

/** Verifies what follows the key id of a line, and gives its time in seconds. */
function verified(signed: string, sig: Uint8Array, { name, key }: Cosigner): number {
  need(sig.length === 72, `cosignature of "${name}" has ${sig.length} bytes, want 72`);
  const at = sig.subarray(0, 8).reduce((n, b) => n * 256 + b, 0);
  need(at >= 1 && at <= latest, `cosignature of "${name}" at ${at} s, want 1 to ${latest}`);
  verifySignature(key, EdDSA, utf8(`cosignature/v1\ntime ${at}\n${signed}`), sig.subarray(8));
  return at;
}

/** Reports whether a key that cosigned at a time in ms is one to count. */
function counts(c: Check, { key, device }: Cosigner, at: number): boolean {
  return !c.revoked.some((r) => equal(r.kid, key.id)) && (!device || (at >= device.from && at <= device.to));
}
