// What a passport proves, or why it does not stand. Every interface is the JSON
// that `anchor verify --json` prints: times in Unix ms by the devices' clocks,
// values in thousandths, hashes in lower hex, and no number with a fraction.

import type { Limit } from "../digest.ts";
import type { Criterion, Texts } from "../payload.ts";

/** Why a passport was refused; the same in every verifier. */
export type Code =
  | "malformed"
  | "untrusted-key"
  | "signature"
  | "receipt"
  | "checkpoint"
  | "anchor"
  | "record"
  | "range"
  | "window"
  | "consistency"
  | "blocks"
  | "trace"
  | "plan"
  | "item"
  | "expired"
  | "revoked"
  | "event"
  | "cosignature";

/** A passport that does not stand. */
export class Refusal extends Error {
  constructor(
    readonly code: Code,
    message: string,
  ) {
    super(message);
  }
}

/** Throws a refusal of this code. */
export function refuse(code: Code, words: string): never {
  throw new Refusal(code, TEXTS ? code + ": " + words : code);
}

export interface Verdict {
  item: { gtin: string; serial: string };
  outcome: "kept" | "beyond" | "incomplete" | "unjudged";
  product?: Product;
  legs: Leg[];
  broken: Breach[];
  withheld: Withheld[];
  unmonitored_ms: number; // between legs
  unmeasured_ms: number; // in legs, on the worst channel
  undated_sightings: number;
  unplaced_sightings: number;
  conflicting_sightings: number;
  statements: number;
  ledgers: { origin: string; size: number }[];
  anchors: AnchorFacts[];
  devices: Device[];
  witnesses?: WitnessFacts; // absent: the trust file asks for none
  key_status?: { at: number; age_ms: number }; // the newest shown; its age when verified
}

/** What the brand says. */
export interface Product {
  name: Texts;
  brand: Texts;
  lot?: string;
  by: string;
  rule: Criterion[];
}

/** How well a time is known: by a checked block, by the passport's maker, not at all. */
export type Proof = "proven" | "declared" | "none";

/** One end of a time bracket; time 0 for none. */
export interface Bound {
  time: number;
  proof: Proof;
}

/** One stay in one zone. */
export interface Leg {
  zone: string;
  name: Texts;
  site: Texts;
  plan_by: string;
  from: number;
  to: number;
  presence: "seen" | "entered-and-left" | "seen-once";
  seen_ms: number;
  sightings: number;
  reads: number;
  not_before: Bound; // when its first sighting was signed
  not_after: Bound; // when all of it was signed
  channels: Channel[];
}

/** One channel over one leg, from the signed digest. */
export interface Channel {
  device: string;
  channel: string;
  unit: string;
  closeness: number;
  min: number;
  max: number;
  mean: number; // rounded half away from zero
  mkt?: number; // hundredths of °C, ΔH 83.144 kJ/mol
  limits: { limit: Limit; total_ms: number; longest_ms: number }[];
  blocks: number;
  shown_blocks: number; // whole, in an audit
  erased_blocks: number; // by the site's signed word
  unmeasured_ms: number;
  heads: HeadFacts[];
  head_gap_ms: number; // longest time of the leg without a head
  lateness_ms: number; // the most of its heads
  lateness: Proof; // the least of its heads
}

/** One signed head of a channel and the anchor that covers it. */
export interface HeadFacts {
  at: number; // end of the frame
  size: number;
  anchor: Bound;
}

/** A criterion of the brand's rule that was broken. */
export interface Breach {
  criterion: Criterion;
  leg: number; // -1: over all legs
  beyond_ms: number;
  exact: boolean; // false: the plan had no such limit, only the extreme is known
}

/** What the plan promises and the passport does not show. */
export interface Withheld {
  leg: number;
  device: string;
  channel: string;
  from: number;
  to: number;
}

/** A checkpoint's anchor. */
export interface AnchorFacts {
  chain: string;
  kind: number;
  height: number;
  time: number;
  origin: string;
  size: number;
  pinned: boolean; // the trust file names the chain
  validators: number; // as the trust file says
  checked: boolean; // by the chain's evidence, offline; else the passport's word
}

/** Who cosigned the ledgers' checkpoints, as the trust file asks. */
export interface WitnessFacts {
  quorum: number;
  devices: boolean; // the organisation's own devices count
  ledgers: WitnessedLedger[];
}

/** A ledger's newest checkpoint and how far a quorum vouches for the ledger. */
export interface WitnessedLedger {
  origin: string;
  size: number;
  reach: number; // the largest size shown that a quorum cosigned, 0: none
  cosigned: WitnessedBy[]; // distinct witnesses of the newest, in the note's order
}

/** One witness of a checkpoint. */
export interface WitnessedBy {
  name: string;
  key: string;
  time: number; // ms, as the witness says
  device: boolean;
  label: string; // of a device: its name, or its subject
  simulated: boolean;
}

/** Who measured. */
export interface Device {
  key: string;
  issuer: string;
  name: string;
  simulated: boolean;
  clock: number; // the worst of its frames here
  max_error_ms: number;
}
