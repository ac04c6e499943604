// Versions of CometBFT evidence that comet.ts reads itself: epochs.ts has the other.

export { one as version } from "../cbor.ts";
