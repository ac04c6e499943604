// The keys a verifier trusts: pinned authorities, and those that an identity
// statement signed by one of them names. Nothing else ever becomes trusted.

import { equal, hex } from "./bytes.ts";
import type { Key } from "./key.ts";
import { need } from "./fail.ts";
import type { Identity } from "./payload.ts";
import { roleAuthority, roleDevice, roleOf, short, verifyStatement, type Statement } from "./statement.ts";

/** Thrown for a key that nobody vouches for, or not for this. */
export class UntrustedError extends Error {}

export class Keyring {
  private readonly authorities = new Map<string, Key>();
  private readonly identities = new Map<string, { identity: Identity; statement: Uint8Array }>();

  constructor(
    private readonly audience: string,
    authorities: Key[],
  ) {
    for (const a of authorities) this.authorities.set(hex(a.id), a);
  }

  /**
   * Verifies an identity statement and trusts the key it names. A second,
   * different identity for one key is refused.
   */
  add(s: Statement, identity: Identity): void {
    this.byAuthority(s);
    const kid = hex(identity.key.id);
    const had = this.identities.get(kid);
    need(had === undefined || equal(had.statement, s.id), `two identities for key ${short(identity.key.id)}`);
    this.identities.set(kid, { identity, statement: s.id });
  }

  /**
   * Checks a statement: its key is trusted, has the role its kind asks for,
   * speaks as the subject it was given (a device: in the one epoch its identity
   * opens), and signed it. Undefined for what an authority signed itself.
   */
  verify(s: Statement): Identity | undefined {
    const role = roleOf(s.kind);
    if (role === roleAuthority) {
      this.byAuthority(s);
      return undefined;
    }
    const known = this.identities.get(hex(s.kid));
    if (known === undefined) throw this.untrusted(s);
    const id = known.identity;
    if (id.role !== role || s.issuer !== id.subject || (role === roleDevice && s.subject !== String(id.epoch))) {
      const words = `${s.kind} of "${s.issuer}" ${s.subject} by a key of role ${id.role} of "${id.subject}" ${id.epoch}`;
      throw new UntrustedError(words);
    }
    verifyStatement(s, id.key, this.audience);
    return id;
  }

  private byAuthority(s: Statement): void {
    const authority = this.authorities.get(hex(s.kid));
    if (authority === undefined) throw this.untrusted(s);
    verifyStatement(s, authority, this.audience);
  }

  private untrusted(s: Statement): UntrustedError {
    return new UntrustedError(`${s.kind} signed by ${short(s.kid)}: key is not one the authority vouches for`);
  }
}
