// The keys a verifier trusts: pinned authorities, and those that an identity
// statement signed by one of them names. Nothing else ever becomes trusted.

import { equal, hex } from "../bytes.ts";
import type { Key } from "../key.ts";
import { need } from "../fail.ts";
import { roleOf, type Identity } from "../payload.ts";
import { roleAuthority, roleDevice } from "../role.ts";
import { short, verifyStatement, type Statement } from "../statement.ts";
import { refuse } from "./verdict.ts";

export interface Keyring {
  /**
   * Verifies an identity statement and trusts the key it names. A second,
   * different identity for one key is refused.
   */
  add(s: Statement, identity: Identity): void;
  /**
   * Checks a statement: its key is trusted, has the role its kind asks for,
   * speaks as the subject it was given (a device: in the one epoch its identity
   * opens), and signed it. Undefined for what an authority signed itself.
   */
  verify(s: Statement): Identity | undefined;
  /** Names a channel alike under all keys that its device had. */
  quantity(device: Uint8Array, channel: string): string;
}

/** A keyring; what nobody vouches for, or not for this, it refuses as untrusted-key. */
export function keyring(audience: string, authorities: Key[]): Keyring {
  const identities = new Map<string, { identity: Identity; statement: Uint8Array; line: string }>();

  const untrusted = (s: Statement): never =>
    refuse("untrusted-key", `${s.kind} signed by ${short(s.kid)}: key is not one the authority vouches for`);

  const byAuthority = (s: Statement): void => verifyStatement(s, authorities.find((a) => equal(a.id, s.kid)) || untrusted(s), audience);

  return {
    add(s, identity) {
      byAuthority(s);
      const kid = hex(identity.key.id);
      const had = identities.get(kid);
      need(!had || equal(had.statement, s.id), `two identities for key ${short(identity.key.id)}`);
      const old = identity.replaces && identities.get(hex(identity.replaces));
      const follows = old && old.identity.subject === identity.subject && old.identity.epoch + 1 === identity.epoch;
      identities.set(kid, { identity, statement: s.id, line: follows ? old.line : kid });
    },
    verify(s) {
      const role = roleOf(s.kind);
      if (role === roleAuthority) return void byAuthority(s);
      const { identity: id } = identities.get(hex(s.kid)) || untrusted(s);
      if (id.role !== role || s.issuer !== id.subject || (role === roleDevice && s.subject !== `${id.epoch}`)) {
        refuse("untrusted-key", `${s.kind} of "${s.issuer}" ${s.subject} by a key of role ${id.role} of "${id.subject}" ${id.epoch}`);
      }
      verifyStatement(s, id.key, audience);
      return id;
    },
    quantity(device, channel) {
      const line = hex(device);
      return (identities.get(line) || { line }).line + channel;
    },
  };
}
