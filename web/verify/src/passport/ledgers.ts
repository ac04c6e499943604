// The first half of a verification: ledgers, places, signatures, keys.

import { equal, hex } from "../bytes.ts";
import { leafHash } from "../hash.ts";
import { Unsupported } from "../key.ts";
import { Keyring, UntrustedError } from "../keyring.ts";
import { openCheckpoint, originOf } from "../note.ts";
import { isWall, readPayload, type Identity, type KeyStatus } from "../payload.ts";
import { verifyRoot } from "../receipt.ts";
import { parseStatement } from "../statement.ts";
import { openMulti } from "../tree.ts";
import { hold, must, type Check, type LedgerState, type Proven } from "./check.ts";
import { verifyComet } from "./comet.ts";
import { comet, type Anchor, type Chain, type Ledger } from "./format.ts";
import { verifyEvm } from "#evm";
import { Refusal } from "./verdict.ts";

export type Revoked = KeyStatus["revoked"][0];

/** Opens every checkpoint with its pinned log key, and checks their anchors' evidence. */
export function checkpoints(c: Check): void {
  for (const l of c.passport.ledgers) {
    const origin = originOf(l.newest.note);
    const log = c.trust.logs.find((l) => l.origin === origin);
    hold(log !== undefined, "checkpoint", `ledger "${origin}" is not one the trust file names`);
    hold(!c.ledgers.some((l) => l.newest.origin === origin), "checkpoint", `ledger "${origin}" is given twice`);
    const open = (note: Uint8Array) => must("checkpoint", () => openCheckpoint(note, origin, log.key));
    const state: LedgerState = { newest: open(l.newest.note), older: [], anchors: [] };
    let before = 0;
    for (const { note } of l.older || []) {
      const o = open(note);
      hold(o.size > before && o.size < state.newest.size, "checkpoint", `older checkpoint of size ${o.size} is out of order`);
      before = o.size;
      state.older.push(o);
    }
    must("receipt", () => verifyRoot(l.signature, state.newest, log.key));
    anchors(c, l, state);
    c.ledgers.push(state);
    c.verdict.ledgers.push({ origin, size: state.newest.size });
  }
}

/** Checks the anchors of a ledger, newest first as in the file. */
function anchors(c: Check, l: Ledger, state: LedgerState): void {
  [l.newest, ...(l.older || [])].forEach(({ note, anchor, proof }, i) => {
    if (!anchor) return;
    const { chain, kind, height, time } = anchor;
    const head = i === 0 ? state.newest : state.older[i - 1];
    const { origin, size } = head;
    const pinned = c.trust.chains.find((p) => p.id === chain && p.kind === kind);
    // Evidence of a chain or a block that is not pinned proves nothing: declared.
    const checked = proof !== undefined && pinned !== undefined && knows(pinned, anchor);
    if (checked) {
      const proven = must("anchor", () => {
        if (kind === comet) return verifyComet(pinned, note, proof);
        if (verifyEvm === undefined) throw new Unsupported("this build does not check anchors on EVM chains");
        return verifyEvm(pinned, head, proof);
      });
      hold(
        sameAnchor(proven, anchor),
        "anchor",
        `block ${height} at ${time} ms is declared, block ${proven.height} at ${proven.time} is proven`,
      );
    }
    state.anchors.push({ ...anchor, size, checked });
    const validators = pinned ? pinned.validators : 0;
    c.verdict.anchors.push({ chain, kind, height, time, origin, size, pinned: pinned !== undefined, validators, checked });
  });
  state.anchors.sort((a, b) => a.size - b.size);
}

/** Reports whether evidence for an anchor can be checked, and so must stand. */
function knows({ kind, keys, contract }: Chain, { height, block }: Anchor): boolean {
  if (kind === comet) return keys.length > 0;
  // Who names a pinned number or hash and not the other contradicts the pin.
  return contract !== undefined && contract.blocks.some((b) => b.number === height || equal(b.hash, block));
}

function sameAnchor(a: Anchor, b: Anchor): boolean {
  return a.height === b.height && a.time === b.time && equal(a.block, b.block);
}

/** Parses every statement and proves its place in its ledger. */
export function places(c: Check): void {
  const leaves = c.ledgers.map((): { index: number; hash: Uint8Array }[] => []);
  c.passport.evidence.forEach(({ statement, place }, i) => {
    const s = must("malformed", () => parseStatement(statement));
    const { ledger, index } = place;
    hold(ledger < c.ledgers.length && index < c.ledgers[ledger].newest.size, "receipt", `statement ${i} is beyond its ledger`);
    const before = i > 0 ? c.passport.evidence[i - 1].place : { ledger: -1, index: 0 };
    hold(ledger > before.ledger || (ledger === before.ledger && index > before.index), "receipt", `statement ${i} is out of order`);
    leaves[ledger].push({ index, hash: leafHash(s.entry) });
    c.evidence.push({ statement: s, place, seq: 0, records: new Map() });
  });
  c.ledgers.forEach(({ newest, older }, i) => {
    const sizes = older.map((o) => o.size);
    const root = must("receipt", () => openMulti(newest.size, leaves[i], sizes, c.passport.ledgers[i].proof));
    must("receipt", () => hold(equal(root(newest.size), newest.root), "receipt", `proof does not lead to ledger ${i}'s root`));
    for (const o of older) {
      must("consistency", () => hold(equal(root(o.size), o.root), "consistency", `ledger ${i} is not an extension of its size ${o.size}`));
    }
  });
}

/** Verifies identities first, then everything that rests on them. */
export function statements(c: Check): void {
  const ring = new Keyring(c.trust.audience, c.trust.authorities);
  for (const { statement: s } of c.evidence) {
    if (s.kind !== "identity") continue;
    const identity = must("malformed", () => readPayload("identity", s.payload));
    trusted(() => ring.add(s, identity));
  }
  for (const e of c.evidence) {
    const s = e.statement;
    if (s.kind === "identity") continue;
    e.identity = trusted(() => ring.verify(s));
    must("malformed", () => take(c, e));
  }
}

function trusted<T>(step: () => T): T {
  return must("signature", () => {
    try {
      return step();
    } catch (e) {
      throw e instanceof UntrustedError ? new Refusal("untrusted-key", e.message) : e;
    }
  });
}

/** Decodes a verified statement's payload. */
function take(c: Check, e: Proven): void {
  const { kind, payload, id } = e.statement;
  const by = e.identity as Identity; // of all kinds but keystatus
  switch (kind) {
    case "frame": {
      const f = readPayload(kind, payload);
      e.frame = f;
      e.seq = f.seq;
      const key = hex(by.key.id);
      const d = c.devices.get(key) || {
        key,
        issuer: by.subject,
        name: by.name || "",
        simulated: by.simulated === true,
        clock: 3,
        max_error_ms: 0,
      };
      d.clock = Math.min(d.clock, f.clock.quality);
      d.max_error_ms = Math.max(d.max_error_ms, f.clock.maxError);
      c.devices.set(key, d);
      return;
    }
    case "plan": {
      const plan = readPayload(kind, payload);
      e.seq = plan.seq;
      c.plans.set(hex(id), { plan, by: by.subject });
      return;
    }
    case "product": {
      const { gtin, name, brand, lot, rule } = readPayload(kind, payload);
      if (gtin === c.passport.item.gtin) c.product = { name, brand, ...(lot && { lot }), by: by.subject, rule };
      return;
    }
    case "keystatus": {
      const { at, revoked } = readPayload(kind, payload);
      c.revoked.push(...revoked);
      const had = c.verdict.key_status;
      if (!had || at > had.at) c.verdict.key_status = { at, age_ms: Math.max(0, c.at - at) };
      return;
    }
    case "erasure":
      for (const { block } of readPayload(kind, payload).records) {
        if (block) c.erased.push({ by: by.subject, start: block.start, n: block.n });
      }
      return;
    default:
      readPayload(kind, payload);
  }
}

/** Refuses what was signed with a key that was revoked or out of date. */
export function validity(c: Check): void {
  c.evidence.forEach(({ statement, identity, frame, seq }, i) => {
    if (!identity) return;
    for (const r of c.revoked) {
      const dead = equal(r.kid, statement.kid) && (identity.epoch > r.epoch || (identity.epoch === r.epoch && seq >= r.seq));
      hold(!dead, "revoked", `statement ${i}: its key was revoked from seq ${r.seq} on`);
    }
    const t = frame && isWall(frame) ? frame.span.to : identity.from;
    hold(t >= identity.from && t <= identity.to, "expired", `statement ${i}: signed at ${t} ms, out of its key's validity`);
  });
}
