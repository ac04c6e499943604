// The check of an item's evidence file against a trust file, offline. The steps
// and their order are those of docs/wire-format.md section 7, so that every
// verifier gives the same code when several things are wrong.

import { Unsupported } from "../fail.ts";
import type { Check } from "./check.ts";
import { maxAudit, maxSize, parsePassport, type Passport } from "./format.ts";
import { keyring } from "./keyring.ts";
import { checkpoints, places, statements, validity } from "./ledgers.ts";
import { brackets, legs, records } from "./legs.ts";
import { judge } from "./rules.ts";
import { trails } from "./trails.ts";
import { journey } from "#journey";
import type { Trust } from "./trust.ts";
import { refuse, Refusal, type Verdict } from "./verdict.ts";
import { cosignatures } from "#witness";

/**
 * Checks a passport and recomputes its verdict. It is pure: at (Unix ms) is only
 * what ages are counted from. Throws a Refusal when the passport does not stand,
 * and Unsupported when this build cannot tell. An audit may be 16 MiB instead of
 * 1 MiB, for files that somebody asked for.
 */
export function verify(data: Uint8Array, trust: Trust, at: number, audit = false): Verdict {
  let c: Check | undefined;
  try {
    c = begin(parsePassport(data, audit ? maxAudit : maxSize), trust, at);
    if (journey && c.passport.version > 1) c.history = journey.begin(c.passport.item);
    for (const step of [checkpoints, places, statements, validity, cosignatures, records, legs]) step(c);
    const spans = trails(c);
    if (journey && c.history) journey.made(c, c.history, (input) => verify(input, trust, at, true));
    brackets(c);
    judge(c, spans);
    if (journey) journey.judge(c.verdict);
    return c.verdict;
  } catch (e) {
    if (e instanceof Refusal || e instanceof Unsupported) throw e;
    return refuse(c ? c.failing : "malformed", (e as Error).message);
  }
}

function begin(passport: Passport, trust: Trust, at: number): Check {
  return {
    failing: "malformed",
    passport,
    trust,
    at,
    verdict: {
      item: passport.item,
      outcome: "unjudged",
      legs: [],
      broken: [],
      withheld: [],
      unmonitored_ms: 0,
      unmeasured_ms: 0,
      undated_sightings: 0,
      unplaced_sightings: 0,
      conflicting_sightings: 0,
      statements: passport.evidence.length,
      ledgers: [],
      anchors: [],
      devices: [],
    },
    states: [],
    evidence: [],
    plans: new Map(),
    revoked: [],
    erased: [],
    signers: new Map(),
    ring: keyring(trust.audience, trust.authorities),
    placed: [],
    stays: [],
  };
}
