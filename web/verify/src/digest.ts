// Digests of a trace: what the readings of a span amount to.
// docs/wire-format.md section 4 is normative.
//
// Times and covers stay below 2^49 and are numbers; sum and kin are int64 and
// are bigints. Nothing wraps.

import { arrayHead, big, encodeInt, int, list, tuple, type Of, type Read } from "./cbor.ts";
import { need } from "./fail.ts";

export const maxTime = 281474976710655; // ms, below 2^48
const maxInt64 = BigInt("9223372036854775807");

/** Reads thousandths of a unit. */
export const milli: Read<number> = (r) => {
  const n = r.int();
  need(n === (n | 0), `${n} is not within 32 bits`);
  return n;
};

/** Comparisons of a limit; the value itself counts as beyond. */
export const atOrBelow = 1;
export const atOrAbove = 2;

/** One threshold of a channel. */
export type Limit = Of<typeof limitFields>;
const limitFields = tuple({ comparison: int, value: milli });
export const readLimit: Read<Limit> = (r) => {
  const l = limitFields(r);
  need(l.comparison === atOrBelow || l.comparison === atOrAbove, "comparison is neither 1 nor 2");
  return l;
};

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
  limits: list(readExcess),
});

export function span(d: Digest): number {
  return d.t1 - d.t0;
}

export function isBeyond(l: Limit, v: number): boolean {
  return l.comparison === atOrBelow ? v <= l.value : v >= l.value;
}

/** The digest's CBOR, which node hashes are over. */
export function encodeDigest(d: Digest): number[] {
  const out = arrayHead(8);
  for (const n of [d.t0, d.t1, d.covered, d.min, d.max, d.sum, d.kin]) out.push(...encodeInt(n));
  out.push(...arrayHead(d.limits.length));
  for (const l of d.limits) {
    out.push(...arrayHead(4));
    for (const n of [l.total, l.prefix, l.suffix, l.longest]) out.push(...encodeInt(n));
  }
  return out;
}

export function sameDigest(a: Digest, b: Digest): boolean {
  return String(encodeDigest(a)) === String(encodeDigest(b));
}

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
  if (prev < 0) prev = times[0] - 1; // the first reading of a trace covers one millisecond
  const zero = BigInt(0);
  const d: Digest = { t0: 0, t1: times[times.length - 1], covered: 0, min: values[0], max: values[0], sum: zero, kin: zero, limits: [] };
  for (let j = 0; j < s.limits.length; j++) d.limits.push({ total: 0, prefix: 0, suffix: 0, longest: 0 });
  const runs = s.limits.map(() => -1); // where the present run began
  times.forEach((t, i) => {
    const v = values[i];
    need(t > prev && t <= maxTime && prev >= 0, "times do not increase within 48 bits");
    const from = Math.max(prev, t - 2 * s.nominal);
    if (i === 0) d.t0 = from;
    const cover = t - from;
    d.covered += cover;
    d.min = Math.min(d.min, v);
    d.max = Math.max(d.max, v);
    d.sum = bounded(d.sum + BigInt(v) * BigInt(cover));
    if (s.unit === "Cel") d.kin = bounded(d.kin + BigInt(kinetic(v)) * BigInt(cover));
    s.limits.forEach((l, j) => {
      const e = d.limits[j];
      if (!isBeyond(l, v)) {
        runs[j] = -1;
        return;
      }
      e.total += cover;
      if (runs[j] < 0) runs[j] = from;
      const run = t - runs[j];
      e.longest = Math.max(e.longest, run);
      if (runs[j] === d.t0) e.prefix = run;
      if (i === times.length - 1) e.suffix = run;
    });
    prev = t;
  });
  return d;
}

/** Joins the digests of two adjacent spans of one trace. */
export function merge(l: Digest, r: Digest): Digest {
  need(r.t0 >= l.t1, `span beginning at ${r.t0} ms overlaps the one ending at ${l.t1} ms`);
  need(l.limits.length === r.limits.length, "digests are not of one trace");
  const gap = r.t0 - l.t1;
  return {
    t0: l.t0,
    t1: r.t1,
    covered: l.covered + r.covered,
    min: Math.min(l.min, r.min),
    max: Math.max(l.max, r.max),
    sum: bounded(l.sum + r.sum),
    kin: bounded(l.kin + r.kin),
    limits: l.limits.map((a, i) => {
      const b = r.limits[i];
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
  need(d.kin >= BigInt(0) && d.limits.length <= 8, "digest out of bounds");
  for (const { total, prefix, suffix, longest } of d.limits) {
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
  need(d.limits.length === s.limits.length, "digest has not the limits of the plan's channel entry");
  checkDigest(d);
  const [lo, hi] = s.unit === "Cel" ? [kinetic(d.min), kinetic(d.max)] : [0, 0];
  need(within(d.kin, lo, hi, d.covered), "kinetic sum is impossible");
  s.limits.forEach((l, i) => {
    const extreme = l.comparison === atOrBelow ? d.min : d.max;
    need(isBeyond(l, extreme) === d.limits[i].total > 0, `time beyond limit ${l.value} and extreme ${extreme} disagree`);
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
  return (v < 0 ? -Math.round(-v) : Math.round(v)) + 0; // halves away from zero, and never −0
}

/** The time-weighted mean in thousandths of the unit, halves away from zero, exactly. */
export function mean(d: Digest): number {
  const c = BigInt(d.covered);
  const n = d.sum < BigInt(0) ? -d.sum : d.sum;
  const q = (n * BigInt(2) + c) / (c * BigInt(2));
  return Number(d.sum < BigInt(0) ? -q : q);
}
