// Digests of a trace: what the readings of a span amount to.
// docs/wire-format.md section 4 is normative.
//
// Times and covers stay below 2^49 and are numbers; sum and kin are int64 and
// are bigints. Nothing wraps.

import { big, checked, encode, int, list, tuple, type Of } from "./cbor.ts";
import { need } from "./fail.ts";

export const maxTime = 281474976710655; // ms, below 2^48
const maxInt64 = 0x7fffffffffffffffn;

/** Reads thousandths of a unit. */
export const milli = checked(int, (n) => need(n === (n | 0), `${n} is not within 32 bits`));

/** Comparisons of a limit; the value itself counts as beyond. */
export const atOrBelow = 1;
export const atOrAbove = 2;

/** One threshold of a channel. */
export type Limit = Of<typeof readLimit>;
export const readLimit = checked(tuple({ comparison: int, value: milli }), (l) =>
  need(l.comparison === atOrBelow || l.comparison === atOrAbove, "comparison is neither 1 nor 2"),
);

/** What the digests of a trace depend on. */
export interface Spec {
  unit: string; // SenML
  limits: Limit[];
  nominal: number; // ms between readings
}

/** Time beyond one limit within a span, ms. */
export type Excess = Of<typeof readExcess>;
const readExcess = tuple({ total: int, prefix: int, suffix: int, longest: int });

/** What the readings of a span amount to; not checked yet. */
export type Digest = Of<typeof readDigest>;
export const readDigest = tuple({
  t0: int, // ms; where the first reading's cover begins
  t1: int, // the last reading's time
  covered: int,
  min: int, // thousandths of the unit
  max: int,
  sum: big, // Σ value·ms
  kin: big, // Σ ms·kinetic(value), for Cel
  excess: list(readExcess), // one for each limit
});

export function span(d: Digest): number {
  return d.t1 - d.t0;
}

export function isBeyond(l: Limit, v: number): boolean {
  return l.comparison === atOrBelow ? v <= l.value : v >= l.value;
}

/** The digest's CBOR, which node hashes are over; its members have the order of readDigest. */
export const encodeDigest: (d: Digest) => number[] = encode;

function bounded(n: bigint): bigint {
  need(n <= maxInt64 && n >= -maxInt64, "aggregate over its integer bound");
  return n;
}

/**
 * The digest of one block: readings (times in ms, values in thousandths) after
 * a reading at prev (negative: none, the first of a trace).
 */
export function leafDigest(s: Spec, prev: number, times: number[], values: number[]): Digest {
  need(times.length > 0 && times.length === values.length, "times and values make no block");
  let before = prev < 0 ? times[0] - 1 : prev; // the first reading of a trace covers one millisecond
  return times
    .map((t1, i) => {
      const v = values[i];
      need(t1 > before && t1 <= maxTime && before >= 0, "times do not increase within 48 bits");
      const t0 = Math.max(before, t1 - 2 * s.nominal);
      const covered = t1 - t0;
      const ms = BigInt(covered);
      before = t1;
      return {
        t0,
        t1,
        covered,
        min: v,
        max: v,
        sum: bounded(BigInt(v) * ms),
        kin: s.unit === "Cel" ? bounded(BigInt(kinetic(v)) * ms) : 0n,
        excess: s.limits.map((l) => {
          const n = isBeyond(l, v) ? covered : 0;
          return { total: n, prefix: n, suffix: n, longest: n };
        }),
      };
    })
    .reduce(merge);
}

/** Joins the digests of two adjacent spans of one trace. */
export function merge(l: Digest, r: Digest): Digest {
  need(r.t0 >= l.t1, `span beginning at ${r.t0} ms overlaps the one ending at ${l.t1} ms`);
  need(l.excess.length === r.excess.length, "digests are not of one trace");
  const gap = r.t0 - l.t1;
  return {
    t0: l.t0,
    t1: r.t1,
    covered: l.covered + r.covered,
    min: Math.min(l.min, r.min),
    max: Math.max(l.max, r.max),
    sum: bounded(l.sum + r.sum),
    kin: bounded(l.kin + r.kin),
    excess: l.excess.map((a, i) => {
      const b = r.excess[i];
      const e = { total: a.total + b.total, prefix: a.prefix, suffix: b.suffix, longest: Math.max(a.longest, b.longest) };
      if (a.suffix > 0 && b.prefix > 0) {
        // Unmeasured time between two readings beyond counts into the run.
        const joined = a.suffix + gap + b.prefix;
        e.longest = Math.max(e.longest, joined);
        if (a.prefix === span(l)) e.prefix = joined;
        if (b.suffix === span(r)) e.suffix = joined;
      }
      return e;
    }),
  };
}

/** Throws when no unit and no limit could make the digest right. */
export function checkDigest(d: Digest): void {
  const { min, max, covered } = d;
  const length = span(d);
  need(d.t0 >= 0 && d.t1 <= maxTime && length > 0, "span of a digest is out of bounds");
  need(covered > 0 && covered <= length, `${covered} ms covered of a span of ${length}`);
  need(min <= max && min === (min | 0) && max === (max | 0), "minimum and maximum are impossible");
  need(within(d.sum, min, max, covered) && d.sum >= -maxInt64, "sum is impossible");
  need(d.kin >= 0n && d.excess.length <= 8, "digest out of bounds");
  for (const { total, prefix, suffix, longest } of d.excess) {
    const whole = longest === length;
    need(
      Math.min(total, prefix, suffix) >= 0 &&
        total <= covered &&
        Math.max(prefix, suffix) <= longest &&
        longest <= length &&
        (total === 0) === (longest === 0) &&
        whole === (prefix === length) &&
        whole === (suffix === length),
      "time beyond a limit is impossible",
    );
  }
}

/** Throws when no readings of the spec's channel could have the digest. */
export function checkDigestOf(s: Spec, d: Digest): void {
  need(d.excess.length === s.limits.length, "digest has not the limits of the plan's channel entry");
  checkDigest(d);
  const [lo, hi] = s.unit === "Cel" ? [kinetic(d.min), kinetic(d.max)] : [0, 0];
  need(within(d.kin, lo, hi, d.covered), "kinetic sum is impossible");
  s.limits.forEach((l, i) => {
    const extreme = l.comparison === atOrBelow ? d.min : d.max;
    need(isBeyond(l, extreme) === d.excess[i].total > 0, `time beyond limit ${l.value} and extreme ${extreme} disagree`);
  });
}

/** Reports lo·n <= x <= hi·n. */
function within(x: bigint, lo: number, hi: number, n: number): boolean {
  return x >= BigInt(lo) * BigInt(n) && x <= BigInt(hi) * BigInt(n);
}

const activation = 10000; // ΔH/R in kelvin: 83.144 kJ/mol and 8.3144 J/(mol·K)
const reference = 278.15; // kelvin

/** The weight of one millisecond at a temperature (m°C) in the mean kinetic temperature. */
export function kinetic(milliCel: number): number {
  need(milliCel >= -100000 && milliCel <= 125000, `${milliCel} m°C is not within -100000..125000`);
  return Math.round(1000 * Math.exp(activation * (1 / reference - 1 / (273.15 + milliCel / 1000))));
}

/** The mean kinetic temperature of a digest of a `Cel` channel with kin > 0, in hundredths of °C. */
export function meanKinetic(d: Digest): number {
  const mean = Number(d.kin) / 1000 / d.covered;
  const v = (1 / (1 / reference - Math.log(mean) / activation) - 273.15) * 100;
  return Math.sign(v) * Math.round(Math.abs(v)) + 0; // halves away from zero, and never −0
}

/** The time-weighted mean in thousandths of the unit, halves away from zero, exactly. */
export function mean(d: Digest): number {
  const c = BigInt(d.covered);
  return Number((2n * d.sum + (d.sum < 0n ? -c : c)) / (2n * c));
}
