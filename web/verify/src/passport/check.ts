// A verification under way: what each step leaves for the later ones.

import { equal } from "../bytes.ts";
import type { Body, Sighting } from "../record.ts";
import type { Channel as PlanChannel, Frame, Identity, Plan, Zone } from "../payload.ts";
import type { Checkpoint as Opened } from "../note.ts";
import type { Statement } from "../statement.ts";
import type { Keyring } from "./keyring.ts";
import type { Revoked } from "./ledgers.ts";
import type { Evidence, Passport } from "./format.ts";
import type { History } from "#journey";
import type { Trust } from "./trust.ts";
import type { AnchorFacts, Bound, Code, Device, Product, Verdict } from "./verdict.ts";

export interface Check {
  failing: Code; // what the passport is refused with if the present step throws
  passport: Passport;
  trust: Trust;
  at: number; // ms, what ages are counted from
  verdict: Verdict;
  states: LedgerState[]; // of the ledgers
  evidence: Proven[];
  plans: Map<string, Planned>; // by statement id
  revoked: Revoked[];
  erased: Erased[];
  product?: Product;
  signers: Map<string, Device>; // of frames, by key
  ring: Keyring;
  placed: Placed[]; // sightings
  stays: Stay[]; // of each leg
  history?: History; // of a passport of version 2
}

/** A ledger whose checkpoints are verified. */
export interface LedgerState {
  newest: Opened;
  older: Opened[];
  anchors: { facts: AnchorFacts; block: Uint8Array }[]; // ascending by size
}

/** A statement whose place and signature stand. */
export interface Proven {
  statement: Statement;
  place: Evidence["place"];
  identity?: Identity; // of who signed it, if not an authority
  frame?: Frame;
  seq: number; // what a revocation counts by
  records: Map<number, Body>;
}

export interface Planned {
  plan: Plan;
  by: string;
}

/** A sighting of the item, or of what carried it, with the zone that the plan in force gives its antenna. */
export interface Placed extends Planned {
  sighting: Sighting;
  from: Proven;
  zone: Zone;
}

/** What a leg rests on. */
export interface Stay {
  sightings: Placed[];
  listed: Map<string, PlanChannel>; // the channels that any plan in force gives its zone, by their names under all keys
  last: Proven[]; // the frames of the last heads
}

/** A block that a site says it erased. */
export interface Erased {
  by: string;
  start: Uint8Array;
  n: number;
}

export const none: Bound = { time: 0, proof: "none" };

const boundOf = ({ time, checked }: AnchorFacts): Bound => ({ time, proof: checked ? "proven" : "declared" });

/** The bound that the first anchor of a ledger that holds an entry gives. */
export function covering(c: Check, place: Evidence["place"]): Bound {
  const a = c.states[place.ledger].anchors.find((a) => a.facts.size > place.index);
  return a ? boundOf(a.facts) : none;
}

/** The bound of the block that a frame names, if an anchor shown here is in it. */
export function naming(c: Check, after: Frame["after"]): Bound {
  let best = none;
  if (!after || after.chain === "") return best;
  for (const { anchors } of c.states) {
    for (const { facts, block } of anchors) {
      const is = facts.chain === after.chain && facts.height === after.height && equal(block, after.block);
      if (is && best.proof !== "proven") best = boundOf(facts);
    }
  }
  return best;
}
