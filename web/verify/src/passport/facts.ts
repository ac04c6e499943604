// What a verdict says besides of a passport of version 2: JSON as in verdict.ts.

import type { Limit } from "../digest.ts";
import type { Bound, Verdict } from "./verdict.ts";

// Each is there if there is any of it.
declare module "./verdict.ts" {
  interface Verdict {
    journey?: JourneyEvent[]; // by time
    conflicts?: Conflict[];
    withheld_events?: HiddenEvents[];
    inputs?: Inputs[];
    custody?: Custody[]; // by time
  }
  interface Leg {
    carriers?: string[]; // whose tags were seen in the item's stead
  }
  interface Channel {
    custodians?: Custodian[]; // by time
  }
}

/** One event of the item, or of what carried it at that time; time and place are the signer's word. */
export interface JourneyEvent {
  action: number; // 1 commission, 2 pack, 3 unpack, 4 transform, 5 other, 6 decommission
  at: number;
  place?: string;
  step?: string;
  by: string;
  by_name?: string;
  object?: string; // the carrier it is about; none: the item
  parent?: string; // what it packed into or unpacked from
  input?: boolean; // the item went into something else
  anchor: Bound; // when it was on record
}

/** What does not go together; it is shown and never resolved. */
export type ConflictKind = "zones" | "tid" | "time" | "packing" | "custody";

export interface Conflict {
  kind: ConflictKind;
  at: number;
  object?: string; // a carrier; none: the item
}

/** What went into the item in one transformation; an input without a verdict has no passport here. */
export interface Inputs {
  at: number;
  by: string;
  total: number;
  shown: { object: string; verdict?: Verdict }[];
}

/** One change of custody. */
export interface Custody {
  at: number;
  from: string;
  from_name?: string;
  to: string;
  to_name?: string;
  place?: string;
  object?: string; // handed over with this carrier; none: by itself
  accepted: boolean; // by the taker's signature; else the giver's word
  accepted_at?: number;
  anchor: Bound; // when the giver's word was on record
}

/** The part of a channel's digest that one custodian answers for. */
export interface Custodian {
  by?: string; // none: custody changed in it at a time that no signed head marks
  by_name?: string;
  from: number;
  to: number;
  covered_ms: number;
  limits: { limit: Limit; total_ms: number; longest_ms: number }[];
}

/** Events of the item or of a carrier that are not shown, right before one that is. */
export interface HiddenEvents {
  object?: string; // a carrier; none: the item
  before: number;
}
