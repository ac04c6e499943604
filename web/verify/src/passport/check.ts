// A verification under way: what each step leaves for the later ones.

import { equal } from "../bytes.ts";
import { Unsupported } from "../key.ts";
import type { Body, Sighting } from "../record.ts";
import type { Channel as PlanChannel, Frame, Identity, Plan, Zone } from "../payload.ts";
import type { Checkpoint as Opened } from "../note.ts";
import type { Statement } from "../statement.ts";
import type { Revoked } from "./ledgers.ts";
import type { Anchor, Evidence, Passport, Trust } from "./format.ts";
import { Refusal, type Bound, type Code, type Device, type Product, type Verdict } from "./verdict.ts";

export interface Check {
  passport: Passport;
  trust: Trust;
  at: number; // ms, what ages are counted from
  verdict: Verdict;
  ledgers: LedgerState[];
  evidence: Proven[];
  plans: Map<string, Planned>; // by statement id
  revoked: Revoked[];
  erased: Erased[];
  product?: Product;
  devices: Map<string, Device>;
  sightings: Placed[];
  stays: Stay[]; // of each leg
}

/** A ledger whose checkpoints are verified. */
export interface LedgerState {
  newest: Opened;
  older: Opened[];
  anchors: (Anchor & { size: number; checked: boolean })[]; // ascending by size
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

/** A sighting of the item with the zone that the plan in force gives its antenna. */
export interface Placed extends Planned {
  sighting: Sighting;
  from: Proven;
  zone: Zone;
}

/** What a leg rests on. */
export interface Stay {
  sightings: Placed[];
  listed: PlanChannel[]; // the channels that any plan in force gives its zone
  last: Proven[]; // the frames of the last heads
}

/** A block that a site says it erased. */
export interface Erased {
  by: string;
  start: Uint8Array;
  n: number;
}

/** Runs a step; whatever it throws becomes a refusal of this code. */
export function must<T>(code: Code, step: () => T): T {
  try {
    return step();
  } catch (e) {
    if (e instanceof Refusal || e instanceof Unsupported) throw e;
    throw new Refusal(code, (e as Error).message);
  }
}

/** Throws a refusal of this code unless ok. */
export function hold(ok: boolean, code: Code, words: string): asserts ok {
  if (!ok) throw new Refusal(code, words);
}

export const none = (): Bound => ({ time: 0, proof: "none" });

function boundOf(a: LedgerState["anchors"][0]): Bound {
  return { time: a.time, proof: a.checked ? "proven" : "declared" };
}

/** The bound that the first anchor of a ledger that holds an entry gives. */
export function covering(c: Check, place: Evidence["place"]): Bound {
  const a = c.ledgers[place.ledger].anchors.find((a) => a.size > place.index);
  return a ? boundOf(a) : none();
}

/** The bound of the block that a frame names, if an anchor shown here is in it. */
export function naming(c: Check, after: Frame["after"]): Bound {
  let best = none();
  if (!after || after.chain === "") return best;
  for (const l of c.ledgers) {
    for (const a of l.anchors) {
      const is = a.chain === after.chain && a.height === after.height && equal(a.block, after.block);
      if (is && best.proof !== "proven") best = boundOf(a);
    }
  }
  return best;
}
