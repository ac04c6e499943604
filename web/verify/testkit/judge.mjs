// Judges every golden case and prints what it found as JSON:
//   node [--jitless] judge.mjs here|bare

import { readdirSync, readFileSync } from "node:fs";
import { bare, here, vectors } from "./engine.mjs";

const { judge } = process.argv[2] === "bare" ? bare("vectors.js") : here("vectors.js");
const out = { cases: 0, wrong: [], ms: {} };
for (const file of readdirSync(vectors).filter((f) => f.endsWith(".txt"))) {
  const text = readFileSync(new URL(file, vectors), "utf8");
  const began = process.hrtime.bigint();
  const { kind, expect, error, wrong } = judge(text);
  const ms = Number(process.hrtime.bigint() - began) / 1e6;
  const set = (out.ms[kind] ||= { cases: 0, ms: 0 });
  set.cases++;
  set.ms += ms;
  out.cases++;
  const refused = kind === "passport" ? error === expect : error?.includes(expect); // codes are the same everywhere
  if (expect === "ok" ? error !== undefined || wrong !== undefined : !refused) {
    out.wrong.push(`${file}: want ${expect}: ${wrong ?? error ?? "accepted"}`);
  }
}
for (const set of Object.values(out.ms)) set.ms = Math.round(set.ms * 10) / 10;
console.log(JSON.stringify(out));
