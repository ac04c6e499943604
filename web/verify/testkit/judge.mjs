// Judges every golden case and prints what it found as JSON:
//   node [--jitless] judge.mjs here|bare SCRIPT
//
// SCRIPT is vectors.js; or vectors-codes.js, whose errors have no texts, so that of
// what is no passport only the refusal itself is compared; or verify.js or
// verify-slim.js, what phones get, which judge passports only.

import { deepStrictEqual } from "node:assert";
import { readdirSync, readFileSync } from "node:fs";
import { bare, here, vectors } from "./engine.mjs";

const [mode, script] = process.argv.slice(2);
const built = (name) => (mode === "bare" ? bare(name) : here(name));
const { judge, parseCase } = built(script.startsWith("verify") ? "vectors.js" : script);
const phone = script.startsWith("verify") && built(script);

// What the phone's script says of a passport: "ok" with the verdict of the case, or a code.
function judgeOn({ verify, parseTrust, Unsupported }, text) {
  const { header, body } = parseCase(text);
  const out = { kind: header.get("kind"), expect: header.get("expect") };
  try {
    const verdict = verify(body, parseTrust(Buffer.from(header.get("trust"), "hex")), Number(header.get("at")));
    out.wrong = same(JSON.parse(JSON.stringify(verdict)), JSON.parse(header.get("verdict"))) ? undefined : "another verdict";
  } catch (e) {
    if (e instanceof Unsupported) out.unsupported = true;
    out.error = e.code || String(e);
  }
  return out;
}

const same = (a, b) => {
  try {
    return deepStrictEqual(a, b) === undefined;
  } catch {
    return false;
  }
};

const out = { cases: 0, unsupported: 0, wrong: [], ms: {} };
for (const file of readdirSync(vectors).filter((f) => f.endsWith(".txt") && (!phone || f.startsWith("passport-")))) {
  const text = readFileSync(new URL(file, vectors), "utf8");
  const began = process.hrtime.bigint();
  const { kind, expect, error, wrong, unsupported } = phone ? judgeOn(phone, text) : judge(text);
  const ms = Number(process.hrtime.bigint() - began) / 1e6;
  const set = (out.ms[kind] ||= { cases: 0, ms: 0 });
  set.cases++;
  set.ms += ms;
  out.cases++;
  if (unsupported) {
    out.unsupported++;
    continue;
  }
  const codes = kind === "passport"; // these are the same everywhere
  const refused = codes ? error === expect : script === "vectors-codes.js" ? error !== undefined : error?.includes(expect);
  if (expect === "ok" ? error !== undefined || wrong !== undefined : !refused) {
    out.wrong.push(`${file}: want ${expect}: ${wrong ?? error ?? "accepted"}`);
  }
}
for (const set of Object.values(out.ms)) set.ms = Math.round(set.ms * 10) / 10;
console.log(JSON.stringify(out));
