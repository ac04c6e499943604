// Stands in for evm.ts in builds that leave EVM anchors out for size.

import type { Checkpoint } from "../note.ts";
import type { Anchor, Chain } from "./format.ts";

export const verifyEvm: ((chain: Chain, head: Checkpoint, evidence: Uint8Array) => Anchor) | undefined = undefined;
