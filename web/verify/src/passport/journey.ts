// Everything that a passport of version 2 adds to a verification. Builds that
// leave it out for size have journey-none.ts instead.

import { bytesOf, between, bytes, hash, list, nonEmpty, tuple, uint } from "../cbor.ts";
import { need } from "../fail.ts";
import type { Check } from "./check.ts";
import { custodians, moments, parts } from "./custody.ts";
import { begin, carried, contradict, counted, hear, made, members, name, type History } from "./history.ts";
import { isSerialised, itemUri } from "./object.ts";
import type { Inputs } from "./facts.ts";
import type { Verdict } from "./verdict.ts";

export type { History } from "./history.ts";
export type { Cut, Part } from "./custody.ts";

// In how many passports the one under verification is; verify is synchronous.
let depth = 0;
const maxDepth = 3;

/** Verifies the passports of what the item was made from, and says which inputs are not shown. */
function inputs(c: Check, h: History, verify: (data: Uint8Array) => Verdict): void {
  const all = made(h);
  const verdicts = new Map<string, Verdict>();
  (c.passport.inputs || []).forEach((data, i) => {
    c.failing = "malformed";
    need(depth < maxDepth, `passports are more than ${maxDepth} deep in each other`);
    depth++;
    let v: Verdict;
    try {
      v = verify(data);
    } finally {
      depth--;
    }
    const uri = itemUri(v.item.gtin, v.item.serial);
    c.failing = "event";
    const shown = all.some((of) => (h.inputs.get(of.n) || []).includes(uri));
    need(shown && !verdicts.has(uri), `passport ${i} of ${uri} is of no input that is shown, or there twice`);
    verdicts.set(uri, v);
  });
  const facts = all.map(({ event, from, n }): Inputs => ({
    at: event.at,
    by: from.identity!.subject,
    total: event.inputs!.size,
    shown: (h.inputs.get(n) || []).map((object) => {
      const verdict = verdicts.get(object);
      return verdict ? { object, verdict } : { object };
    }),
  }));
  if (facts.length > 0) c.verdict.inputs = facts;
}

/** Judges the item by what it was made from, and by what contradicts itself or is hidden. */
function judge(v: Verdict): void {
  if (v.conflicts) v.conflicts.sort((a, b) => a.at - b.at);
  if (v.outcome === "kept" && (v.conflicts || v.withheld_events)) v.outcome = "incomplete";
  for (const from of v.inputs || []) {
    for (const { verdict } of from.shown) {
      const worse = verdict && (verdict.outcome === "beyond" || verdict.outcome === "incomplete");
      if (worse && v.outcome !== "beyond") v.outcome = verdict!.outcome;
    }
    const unknown = from.total > from.shown.length || from.shown.some((x) => !x.verdict && isSerialised(x.object));
    if (v.outcome === "kept" && unknown) v.outcome = "incomplete";
  }
}

const list6or7 = between(6, 7);
const readMember = tuple({ evidence: uint, list: list6or7, index: uint, leaf: bytes, path: list(hash, 0, 64) });

export const journey = {
  version: between(1, 2),
  members: nonEmpty(list(readMember, 1, 1024)),
  inputs: nonEmpty(list(bytesOf(0, 16777216), 1, 16)),
  moments: nonEmpty(list(tuple({ evidence: uint, moment: uint }), 1, 64)),
  begin,
  name,
  hear,
  open: members,
  counted,
  carried,
  contradict,
  cut: moments,
  parts,
  custodians,
  made: inputs,
  judge,
};
