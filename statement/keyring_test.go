package statement_test

import (
	"crypto"
	"errors"
	"testing"

	"trailmark/statement"
)

func identityOf(t testing.TB, k crypto.Signer, role statement.Role) *statement.Identity {
	t.Helper()
	return &statement.Identity{Version: 1, Key: statement.PublicKey{Key: signer(t, k).Key()}, Subject: header("").Issuer,
		Role: role, From: 1, To: 2_000_000_000_000}
}

func authorityHeader(kind statement.Kind) statement.Header {
	return statement.Header{Issuer: "https://example.com/414/6901234000009", Subject: "keys", Audience: audience, Kind: kind}
}

// payloadFor is a good payload of a kind.
func payloadFor(t testing.TB, kind statement.Kind) any {
	t.Helper()
	for _, p := range payloads(t) {
		if p.kind == kind {
			return p.value
		}
	}
	t.Fatalf("no example of %s", kind)
	return nil
}

// TestResolverRefuses: a key is used when a pinned authority gave it, for what
// it gave it, and in no other case: attacks (!) on keys, plans, products and
// custody of section 2.
func TestResolverRefuses(t *testing.T) {
	authority, stranger, device := edKey(100), edKey(101), edKey(1)
	ring := statement.NewKeyring(audience, signer(t, authority).Key())
	if ring.Audience() != audience {
		t.Error("audience lost")
	}
	add := func(s *statement.Statement) error { _, err := ring.Add(s); return err }
	by := func(k crypto.Signer, kind statement.Kind, payload any) *statement.Statement {
		return sign(t, signer(t, k), authorityHeader(kind), payload)
	}
	untrusted := func(what string, err error, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}

	frame := sign(t, signer(t, device), header(statement.KindFrame), goodFrame())
	_, err := ring.Verify(frame)
	untrusted("a key nobody named", err, statement.ErrUntrusted)

	id := identityOf(t, device, statement.RoleDevice)
	untrusted("identity by an unpinned authority", add(by(stranger, statement.KindIdentity, id)), statement.ErrUntrusted)
	untrusted("identity signed by its own key", add(by(device, statement.KindIdentity, id)), statement.ErrUntrusted)
	_, err = ring.Verify(by(device, statement.KindIdentity, id))
	untrusted("self-signed identity as a statement", err, statement.ErrUntrusted)
	_, err = ring.Verify(by(stranger, statement.KindKeyStatus, payloadFor(t, statement.KindKeyStatus)))
	untrusted("key status by a stranger", err, statement.ErrUntrusted)
	wants(t, "a frame by the authority as an identity", add(by(authority, statement.KindFrame, goodFrame())), "kind frame")

	other := authorityHeader(statement.KindIdentity)
	other.Audience = "acme/production"
	wants(t, "identity for another audience", add(sign(t, signer(t, authority), other, id)), "is for audience")

	forged := *by(stranger, statement.KindIdentity, id)
	forged.Header.KeyID = signer(t, authority).Key().ID()
	wants(t, "a stranger's identity that names the authority's key", add(&forged), "does not verify")
	if _, ok := ring.Identity(signer(t, device).Key().ID()); ok {
		t.Fatal("a refused identity left a trace")
	}
	_, err = ring.Verify(frame)
	untrusted("a key of refused identities", err, statement.ErrUntrusted)

	good := by(authority, statement.KindIdentity, id)
	for range 2 { // the same identity twice is no contradiction
		if err := add(good); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := ring.Verify(frame); err != nil || got.Subject != header("").Issuer {
		t.Fatalf("a device's frame: %v", err)
	}
	if _, err := ring.Verify(good); err != nil {
		t.Errorf("the authority's identity: %v", err)
	}
	if s, ok := ring.Statement(signer(t, device).Key().ID()); !ok || s.ID() != good.ID() {
		t.Error("the identity statement is not kept")
	}
	second := *id
	second.Epoch = 1
	wants(t, "a second identity for a key", add(by(authority, statement.KindIdentity, &second)), "two identities")

	// What the device may not say.
	h := header(statement.KindFrame)
	h.Issuer = "urn:dev:mac:0024befffe804ff2"
	_, err = ring.Verify(sign(t, signer(t, device), h, goodFrame()))
	untrusted("in another's name", err, statement.ErrRole)
	for _, epoch := range []string{"1", "", "00", "-0", "0 "} {
		h = header(statement.KindFrame)
		h.Subject = epoch
		_, err = ring.Verify(sign(t, signer(t, device), h, goodFrame()))
		untrusted("in epoch "+epoch, err, statement.ErrEpoch)
	}
	h = header(statement.KindFrame)
	h.Audience = "acme/production"
	_, err = ring.Verify(sign(t, signer(t, device), h, goodFrame()))
	wants(t, "for another audience", err, "is for audience")

	// Every role signs its kinds and no other.
	keys := map[statement.Role]crypto.Signer{statement.RoleDevice: device, statement.RoleSite: edKey(2),
		statement.RoleBrand: edKey(3), statement.RoleOrganisation: edKey(4), statement.RoleAuthority: edKey(5)}
	for role, k := range keys {
		if role != statement.RoleDevice {
			if err := add(by(authority, statement.KindIdentity, identityOf(t, k, role))); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range payloads(t) {
			s := sign(t, signer(t, k), header(p.kind), p.value)
			got, err := ring.Verify(s)
			switch {
			case p.kind.Role() == statement.RoleAuthority:
				// Even a key with the role of an authority vouches for nobody unless it is pinned.
				untrusted("authority by identity only", err, statement.ErrUntrusted)
			case role == p.kind.Role():
				if err != nil || got.Role != role {
					t.Errorf("%s by role %d: %v", p.kind, role, err)
				}
			default:
				untrusted(string(p.kind)+" by a wrong role", err, statement.ErrRole)
			}
		}
	}
	untrusted("identity by a key of role 5 that is not pinned",
		add(by(edKey(5), statement.KindIdentity, identityOf(t, edKey(9), statement.RoleDevice))), statement.ErrUntrusted)
	if _, err := statement.NewKeyring(audience).Verify(frame); !errors.Is(err, statement.ErrUntrusted) {
		t.Errorf("a ring without authorities: %v", err)
	}
}

// TestZeroKeyring: an authority that was never made authorises nothing.
func TestZeroKeyring(t *testing.T) {
	ring := statement.NewKeyring(audience, statement.Key{})
	s := *sign(t, signer(t, edKey(1)), authorityHeader(statement.KindIdentity), identityOf(t, edKey(1), statement.RoleDevice))
	s.Header.KeyID = statement.Hash{}
	if _, err := ring.Add(&s); err == nil {
		t.Error("identity without a kid accepted by an authority without a key")
	}
}
