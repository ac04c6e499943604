// The first half of a verification: ledgers, places, signatures, keys.

import { equal, hex } from "../bytes.ts";
import { need } from "../fail.ts";
import { leafHash } from "../hash.ts";
import { openCheckpoint, originOf, type Checkpoint } from "../note.ts";
import { isWall, readPayload, type Identity, type KeyStatus } from "../payload.ts";
import { verifyRoot } from "../receipt.ts";
import { parseStatement } from "../statement.ts";
import { openMulti } from "../tree.ts";
import type { Check, Proven } from "./check.ts";
import { verifyComet } from "#comet";
import { pins, verifyEvm } from "#evm";
import { journey } from "#journey";
import type { Anchor, Chain } from "./format.ts";
import { comet } from "./kinds.ts";

export type Revoked = KeyStatus["revoked"][0];

/** Opens every checkpoint with its pinned log key, and checks their anchors' evidence. */
export function checkpoints(c: Check): void {
  for (const l of c.passport.ledgers) {
    const origin = originOf(l.newest.note);
    const log = c.trust.logs.find((l) => l.origin === origin);
    c.failing = "checkpoint";
    need(log, `ledger "${origin}" is not one the trust file names`);
    need(!c.states.some((l) => l.newest.origin === origin), `ledger "${origin}" is given twice`);
    const given = [l.newest].concat(l.older || []);
    const [newest, ...older] = given.map(({ note }) => openCheckpoint(note, origin, log.key));
    let before = 0;
    for (const { size } of older) {
      need(size > before && size < newest.size, `older checkpoint of size ${size} is out of order`);
      before = size;
    }
    c.failing = "receipt";
    verifyRoot(l.signature, newest, log.key);
    c.failing = "anchor";
    const anchors: Check["states"][0]["anchors"] = [];
    given.forEach(({ note, anchor, evidence }, i) => {
      if (!anchor) return;
      const { chain, kind, height, time, block } = anchor;
      const head = i > 0 ? older[i - 1] : newest;
      const { size } = head;
      const pinned = c.trust.chains.find((p) => p.id === chain && p.kind === kind);
      const checked = checkAnchor(anchor, pinned, head, note, evidence);
      const facts = { chain, kind, height, time, origin, size, pinned: !!pinned, validators: pinned ? pinned.validators : 0, checked };
      anchors.push({ facts, block });
      c.verdict.anchors.push(facts);
    });
    anchors.sort((a, b) => a.facts.size - b.facts.size);
    c.states.push({ newest, older, anchors });
    c.verdict.ledgers.push({ origin, size: newest.size });
  }
}

/**
 * Whether the evidence proves the anchor; throws when it proves another or none.
 * Evidence of a chain or a block that is not pinned proves nothing: declared.
 */
function checkAnchor(a: Anchor, pinned: Chain | undefined, head: Checkpoint, note: Uint8Array, evidence: Uint8Array | undefined): boolean {
  if (!evidence || !pinned || !knows(pinned, a)) return false;
  const { height, time, block } = a.kind === comet ? verifyComet(pinned, note, evidence) : verifyEvm(pinned, head, evidence);
  need(
    a.height === height && a.time === time && equal(a.block, block),
    `block ${a.height} at ${a.time} ms is declared, block ${height} at ${time} is proven`,
  );
  return true;
}

/** Reports whether evidence for an anchor can be checked, and so must stand. */
function knows({ keys, contract }: Chain, a: Anchor): boolean {
  // Who names a pinned number or hash and not the other contradicts the pin.
  return contract ? pins(contract, a) : keys.length > 0;
}

/** Parses every statement and proves its place in its ledger. */
export function places(c: Check): void {
  const leaves = c.states.map((): { index: number; hash: Uint8Array }[] => []);
  c.passport.evidence.forEach(({ statement, place }, i) => {
    c.failing = "malformed";
    const s = parseStatement(statement);
    c.failing = "receipt";
    const { ledger, index } = place;
    need(ledger < c.states.length && index < c.states[ledger].newest.size, `statement ${i} is beyond its ledger`);
    const before = i > 0 ? c.passport.evidence[i - 1].place : { ledger: -1, index: 0 };
    need((ledger - before.ledger || index - before.index) > 0, `statement ${i} is out of order`);
    leaves[ledger].push({ index, hash: leafHash(s.entry) });
    c.evidence.push({ statement: s, place, seq: 0, records: new Map() });
  });
  c.states.forEach(({ newest, older }, i) => {
    const sizes = older.map((o) => o.size);
    c.failing = "receipt";
    const root = openMulti(newest.size, leaves[i], sizes, c.passport.ledgers[i].path);
    need(equal(root(newest.size), newest.root), `proof does not lead to ledger ${i}'s root`);
    c.failing = "consistency";
    older.forEach((o) => need(equal(root(o.size), o.root), `ledger ${i} is not an extension of its size ${o.size}`));
  });
}

/** Verifies identities first, then everything that rests on them. */
export function statements(c: Check): void {
  const { ring } = c;
  for (const { statement: s } of c.evidence) {
    if (s.kind !== "identity") continue;
    c.failing = "malformed";
    const identity = readPayload("identity", s.payload);
    c.failing = "signature";
    ring.add(s, identity);
    if (journey) journey.name(c, identity);
  }
  for (const e of c.evidence) {
    const s = e.statement;
    if (s.kind === "identity") continue;
    c.failing = "signature";
    e.identity = ring.verify(s);
    c.failing = "malformed";
    take(c, e);
  }
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
      const d = c.signers.get(key) || {
        key,
        issuer: by.subject,
        name: by.name || "",
        simulated: !!by.simulated,
        clock: 3,
        max_error_ms: 0,
      };
      d.clock = Math.min(d.clock, f.clock.quality);
      d.max_error_ms = Math.max(d.max_error_ms, f.clock.maxError);
      c.signers.set(key, d);
      break;
    }
    case "plan": {
      const plan = readPayload(kind, payload);
      e.seq = plan.seq;
      c.plans.set(hex(id), { plan, by: by.subject });
      break;
    }
    case "product": {
      const { gtin, name, brand, lot, rule } = readPayload(kind, payload);
      if (gtin !== c.passport.item.gtin) break;
      c.product = { name, brand, by: by.subject, rule };
      if (lot) c.product.lot = lot;
      break;
    }
    case "keystatus": {
      const { at, revoked } = readPayload(kind, payload);
      c.revoked.push(...revoked);
      const had = c.verdict.key_status;
      if (!had || at > had.at) c.verdict.key_status = { at, age_ms: Math.max(0, c.at - at) };
      break;
    }
    case "erasure":
      for (const { block } of readPayload(kind, payload).records) {
        if (block) c.erased.push({ by: by.subject, start: block.start, n: block.n });
      }
      break;
    default: {
      const said = readPayload(kind, payload);
      if (journey) journey.hear(c, e, said);
    }
  }
}

/** Refuses what was signed with a key that was revoked or out of date. */
export function validity(c: Check): void {
  c.evidence.forEach(({ statement, identity, frame, seq }, i) => {
    if (!identity) return;
    for (const r of c.revoked) {
      const dead = equal(r.kid, statement.kid) && (identity.epoch > r.epoch || (identity.epoch === r.epoch && seq >= r.seq));
      c.failing = "revoked";
      need(!dead, `statement ${i}: its key was revoked from seq ${r.seq} on`);
    }
    const t = frame && isWall(frame) ? frame.span.to : identity.from;
    c.failing = "expired";
    need(t >= identity.from && t <= identity.to, `statement ${i}: signed at ${t} ms, out of its key's validity`);
  });
}
