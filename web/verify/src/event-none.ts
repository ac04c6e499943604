// Stands in for event.ts in builds that leave journeys out for size: there, the
// first version of what organisations sign is the only one.

export type { Later } from "./event.ts";

export const later = undefined as undefined | typeof import("./event.ts").later;
