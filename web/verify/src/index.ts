// The TypeScript twin of Trailmark's verifier: the same answer as the Go one on
// every vector, in any engine that has ECMAScript's BigInt and nothing else.

export { Unsupported } from "./fail.ts";
export { parseTrust, type Trust } from "./passport/trust.ts";
export { verify } from "./passport/verify.ts";
export { Refusal } from "./passport/verdict.ts";
export type * from "./passport/verdict.ts";
export type * from "./passport/facts.ts";
