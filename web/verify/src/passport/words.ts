// The verdict and a refusal in one plain sentence each: the same words as
// Sentence in passport/words.go, which are part of the product.

import { atOrAbove, atOrBelow, isBeyond, type Limit } from "../digest.ts";
import type { Criterion, Texts } from "../payload.ts";
import { cumulative } from "../rule.ts";
import { unjudgeable } from "./rules.ts";
import type { ConflictKind } from "./facts.ts";
import type { Breach, Code, Verdict } from "./verdict.ts";

/** A language of the words that people read. */
export type Lang = "zh-CN" | "en";

const say = (l: Lang, zh: string, en: string): string => (l === "zh-CN" ? zh : en);

/** The words in a language, else the first. */
export function wordsIn(t: Texts, lang: string): string {
  return (t.find((x) => x.lang === lang) || t[0]).words;
}

/** The verdict in one sentence, with what must not be left unsaid beside it. */
export function sentence(v: Verdict, l: Lang): string {
  switch (v.outcome) {
    case "kept": {
      const at = where(v, l);
      const range = band(v, l);
      return excursion(v)
        ? say(
            l,
            `已核验：${at}，凡有测量之处，均符合品牌方的温度标准（${range}）；其间有过短时超出，未超过标准允许的时长。`,
            `Verified: the brand's rule (${range}) was met ${at}, wherever it was measured; short times beyond it stayed within what the rule allows.`,
          )
        : say(l, `已核验：${at}，凡有测量之处，均符合 ${range} 的要求。`, `Verified: ${range} was kept ${at}, wherever it was measured.`);
    }
    case "beyond":
      return broken(v, l);
    case "incomplete":
      return incomplete(v, l);
  }
  return v.legs.length === 0
    ? say(l, "记录本身可信，但其中没有这件商品的行踪。", "The records stand, but none of them saw this item.")
    : say(
        l,
        "记录本身可信，但没有品牌方签署的判定标准，无法判断是否合格。",
        "The records stand, but the brand signed no rule to judge them by.",
      );
}

function incomplete(v: Verdict, l: Lang): string {
  if (v.withheld.length > 0) {
    return say(
      l,
      "记录本身可信，但不完整：有应当出示的测量没有出示。",
      "The records stand, but they are incomplete: measurements that ought to be shown are not.",
    );
  }
  if (v.withheld_events) {
    return say(
      l,
      "记录本身可信，但不完整：有应当出示的装箱、取出等登记没有出示。",
      "The records stand, but they are incomplete: records of packing, unpacking or the like that ought to be shown are not.",
    );
  }
  if (v.conflicting_sightings > 0) {
    return say(
      l,
      "记录本身可信，但相互矛盾：同一标签同时出现在两个地方。",
      "The records stand, but they contradict each other: one tag was in two places at once.",
    );
  }
  if (v.conflicts) {
    const [zh, en] = contradictions[v.conflicts[0].kind];
    return say(l, `记录本身可信，但相互矛盾：${zh}。`, `The records stand, but they contradict each other: ${en}.`);
  }
  const at = v.product && v.legs.length > 0 ? unjudgeable(v) : -1;
  if (at < 0) {
    return say(
      l,
      "记录本身可信，但不完整：所用原料的经历没有全部出示。",
      "The records stand, but they are incomplete: the journey of what it was made from is not all shown.",
    );
  }
  const name = wordsIn(v.legs[at].name, l);
  return say(
    l,
    `记录本身可信，但不完整：在${name}没有判定所需的测量。`,
    `The records stand, but they are incomplete: nothing measured what the rule asks for at ${name}.`,
  );
}

const contradictions: Record<ConflictKind, [zh: string, en: string]> = {
  zones: ["同时出现在两个区域", "in two zones at once"],
  tid: ["另一枚标签带着这件商品的编号，可能是复制品", "another tag carries this item's number: it may be a copy"],
  time: ["登记的时间早于它之前的一项", "an event is older than the one before it"],
  packing: ["装箱的记录前后不一", "the records of its packing disagree"],
  custody: ["交出的一方当时并不持有它", "handed over by somebody who did not have it"],
};

/** The journey in a few words. */
function where(v: Verdict, l: Lang): string {
  const first = wordsIn(v.legs[0].name, l);
  const last = wordsIn(v.legs[v.legs.length - 1].name, l);
  return v.legs.length === 1 ? say(l, `在${first}`, `at ${first}`) : say(l, `从${first}到${last}`, `from ${first} to ${last}`);
}

/** The sentence for a broken rule: the first criterion, and that there are more. */
function broken(v: Verdict, l: Lang): string {
  if (v.broken.length === 0) {
    return say(
      l,
      "已核验，但有超标：制成它的原料超出了其自身的标准。",
      "Verified, but beyond the rule: something it was made from was beyond its own.",
    );
  }
  const b: Breach = v.broken[0];
  const name = b.leg >= 0 ? wordsIn(v.legs[b.leg].name, l) : "";
  const leg = b.leg >= 0 ? say(l, `在${name}`, `at ${name}`) : say(l, "全程", "over the whole journey");
  const lim = limitWords(b.criterion.limit, b.criterion.unit, l);
  const run = b.criterion.kind === cumulative ? say(l, "累计", " in all") : say(l, "连续", " at a time");
  const time = duration(b.beyond_ms, l);
  const allows = allowed(b.criterion, l);
  let s = b.exact
    ? say(
        l,
        `已核验，但有超标：${leg}${run}有 ${time}处于 ${lim}（标准：${allows}）。`,
        `Verified, but beyond the rule: ${lim} for ${time}${run} ${leg} (allowed: ${allows}).`,
      )
    : say(
        l,
        `已核验，但有超标：${leg}曾达到 ${lim}，时长不详。`,
        `Verified, but beyond the rule: ${lim} ${leg}; for how long is not known.`,
      );
  const more = v.broken.length - 1;
  if (more > 0) s += say(l, `另有 ${more} 项超标。`, ` Broken besides: ${more}.`);
  if (v.withheld.length > 0) s += say(l, "此外，还有应当出示的测量没有出示。", " Measurements that ought to be shown are missing, too.");
  return s;
}

/** Whether a reading was beyond a limit of the rule, if for no longer than it allows. */
function excursion(v: Verdict): boolean {
  return v.legs.some((leg) =>
    leg.channels.some((ch) => v.product!.rule.some((c) => c.unit === ch.unit && (isBeyond(c.limit, ch.min) || isBeyond(c.limit, ch.max)))),
  );
}

/** The rule's temperature band in words, such as 2–8 °C. */
function band(v: Verdict, l: Lang): string {
  const limits = v.product!.rule.filter((c) => c.unit === "Cel").map((c) => c.limit);
  const values = (comparison: number) => limits.filter((x) => x.comparison === comparison).map((x) => x.value);
  const edgeOf = (comparison: number, x: number) => value(edge({ comparison, value: x }).milli);
  const below = values(atOrBelow);
  const above = values(atOrAbove);
  const lo = below.length > 0 ? edgeOf(atOrBelow, Math.max(...below)) : undefined;
  const hi = above.length > 0 ? edgeOf(atOrAbove, Math.min(...above)) : undefined;
  if (lo !== undefined && hi !== undefined) return `${lo}–${hi} °C`;
  if (hi !== undefined) return say(l, `${hi} °C 以下`, `at most ${hi} °C`);
  if (lo !== undefined) return say(l, `${lo} °C 以上`, `at least ${lo} °C`);
  return say(l, "规定条件", "the required condition");
}

function allowed(c: Criterion, l: Lang): string {
  if (c.for_ms === 0) return say(l, "不允许", "never");
  const kind = c.kind === cumulative ? say(l, "累计", "in all") : say(l, "一次", "at a time");
  const time = duration(c.for_ms, l);
  return say(l, `${kind}须少于 ${time}`, `less than ${time} ${kind}`);
}

/** A limit with its unit; its value itself is beyond. */
export function limitWords(limit: Limit, senml: string, l: Lang): string {
  const { milli, itself } = edge(limit);
  const v = value(milli) + " " + unit(senml);
  const below = limit.comparison === atOrBelow;
  if (itself) return v + (below ? say(l, " 及以下", " or below") : say(l, " 及以上", " or above"));
  return (below ? say(l, "低于 ", "below ") : say(l, "高于 ", "above ")) + v;
}

/**
 * The value that people name a limit by, and whether it counts as beyond itself:
 * "at or above 8.001" is "above 8", for values are whole thousandths.
 */
function edge(limit: Limit): { milli: number; itself: boolean } {
  const next = limit.value + (limit.comparison === atOrBelow ? 1 : -1);
  return limit.value % 10 !== 0 && next % 10 === 0 ? { milli: next, itself: false } : { milli: limit.value, itself: true };
}

/** A SenML unit as people write it. */
export function unit(senml: string): string {
  return senml === "Cel" ? "°C" : senml === "%RH" ? "%" : senml;
}

/** Thousandths exactly, without trailing zeros. */
export function value(milli: number): string {
  return (milli / 1000)
    .toFixed(3)
    .replace(/\.?0+$/, "")
    .replace("-", "−");
}

/** Milliseconds as people say them. */
export function duration(ms: number, l: Lang): string {
  const s = Math.round(ms / 1000);
  const two = (n: number, what: string, rest: number, small: string) => `${n} ${what}` + (rest > 0 ? ` ${rest} ${small}` : "");
  const [second, minute, hour] = [say(l, "秒", "s"), say(l, "分钟", "min"), say(l, "小时", "h")];
  if (ms > 0 && s === 0) return say(l, "不到 1 秒", "under 1 s");
  if (s < 60) return `${s} ${second}`;
  const m = Math.floor(s / 60);
  if (m < 60) return two(m, minute, s % 60, second);
  const h = Math.floor(m / 60);
  return h < 48 ? two(h, hour, m % 60, minute) : two(Math.floor(h / 24), say(l, "天", "days"), h % 24, hour);
}

/** A refusal in plain words. */
export function refusalSentence(code: Code, l: Lang): string {
  const [zh, en] = refusals[code];
  return say(l, zh, en);
}

const refusals: Record<Code, [zh: string, en: string]> = {
  malformed: ["文件已损坏，或不是规定的格式。", "The file is damaged, or not of the prescribed form."],
  "untrusted-key": ["其中有签名来自未经授权的密钥。", "Something in it is signed by a key that nobody authorised for it."],
  signature: ["其中有签名不成立：内容在签名之后被改动过。", "A signature does not hold: something was changed after it was signed."],
  receipt: [
    "其中有声明无法证明在账本里，或在记账之后被改动过。",
    "A statement cannot be shown to be in the ledger, or was changed after it was recorded.",
  ],
  checkpoint: ["账本的签名不成立，或不是受信任的账本。", "The ledger's signature does not hold, or the ledger is not a trusted one."],
  anchor: [
    "链上的证据不成立，或与所声明的锚定不符。",
    "The chain's evidence does not hold, or proves another anchor than the one declared.",
  ],
  record: ["其中有记录不属于签名所涵盖的内容。", "A record is not among those that its device signed."],
  range: ["测量汇总与设备签名不符：数值被改动过。", "A summary of measurements does not lead to what the device signed: it was changed."],
  window: ["商品停留期间有测量被略去。", "Measurements during the item's stay were left out."],
  consistency: ["同一条测量记录出现了两个互相矛盾的版本。", "Two versions of one trace contradict each other."],
  blocks: ["出示的读数不是设备签名所涵盖的读数。", "The readings shown are not those that the device signed."],
  trace: ["测量记录与行程对不上。", "A trace of measurements does not fit the journey."],
  plan: ["缺少测量所依据的场所计划。", "The site's plan that a measurement rests on is missing."],
  item: ["其中有别的商品的记录。", "It shows records of another item."],
  expired: ["其中有签名是在密钥有效期之外作出的。", "Something was signed outside the time its key is valid for."],
  revoked: ["其中有签名来自已被吊销的密钥。", "Something is signed by a key that was revoked."],
  event: [
    "装箱、取出等登记互相不符，或不属于这件商品。",
    "Records of packing, unpacking or the like do not fit each other, or are not of this item.",
  ],
  cosignature: ["账本上有见证人的联署不成立。", "A witness's cosignature on the ledger's head does not hold."],
};
