package passport_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"reflect"
	"strings"
	"testing"

	"trailmark/passport"
	"trailmark/passport/passporttest"
	"trailmark/statement"
)

// TestTrustWitnesses: a trust file of version 3 names witnesses, in one form only.
func TestTrustWitnesses(t *testing.T) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := statement.NewKey(priv.Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		edit func(t *passport.Trust)
		want string
	}{
		"devices": {func(*passport.Trust) {}, ""},
		"one by name": {func(t *passport.Trust) {
			t.Witnesses.Named = named(t, "w1")
			t.Witnesses.Devices = false
			t.Witnesses.Quorum = 1
		}, ""},
		"one and devices":      {func(t *passport.Trust) { t.Witnesses.Named = named(t, "w1") }, ""},
		"none":                 {func(t *passport.Trust) { t.Witnesses = nil }, ""},
		"no quorum":            {func(t *passport.Trust) { t.Witnesses.Quorum = 0 }, "quorum of 0"},
		"a large quorum":       {func(t *passport.Trust) { t.Witnesses.Quorum = 65 }, "quorum of 65"},
		"a quorum of nobody":   {func(t *passport.Trust) { t.Witnesses.Devices = false }, "can never be had"},
		"a quorum of too few":  {func(t *passport.Trust) { t.Witnesses.Devices = false; t.Witnesses.Named = named(t, "w1") }, "quorum of 2 can never be had of 1"},
		"too many":             {func(t *passport.Trust) { t.Witnesses.Named = make([]passport.Witness, 65) }, ""},
		"no name":              {func(t *passport.Trust) { t.Witnesses.Named = named(t, "") }, `name ""`},
		"a name with a space":  {func(t *passport.Trust) { t.Witnesses.Named = named(t, "w 1") }, `name "w 1"`},
		"a name with a plus":   {func(t *passport.Trust) { t.Witnesses.Named = named(t, "w+1") }, `name "w+1"`},
		"a long name":          {func(t *passport.Trust) { t.Witnesses.Named = named(t, strings.Repeat("w", 257)) }, "257"},
		"one name twice":       {func(t *passport.Trust) { t.Witnesses.Named = named(t, "w1", "w1") }, "given twice"},
		"one key twice":        {func(t *passport.Trust) { t.Witnesses.Named = named(t, "w1", "w2") }, "given twice"},
		"a key that cannot so": {func(t *passport.Trust) { t.Witnesses.Named = named(t, "w1"); t.Witnesses.Named[0].Key.Key = p256 }, "Ed25519"},
	} {
		_, trust := passporttest.Cosign(t, passporttest.Options{})
		if name == "too many" { // which have no key to encode
			if _, err := passport.ParseTrust(bytes.Repeat([]byte{0x80}, 10)); err == nil {
				t.Error("noise is a trust file")
			}
			continue
		}
		c.edit(trust)
		data, err := trust.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := passport.ParseTrust(data)
		if c.want != "" {
			if err == nil || name != "a long name" && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", name, err, c.want)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(back, trust) {
			t.Fatalf("%s: %+v, %v", name, back, err)
		}
		if want := map[bool]uint64{true: 3, false: 1}[trust.Witnesses != nil]; back.Version != want {
			t.Errorf("%s: version %d, want %d", name, back.Version, want)
		}
		for _, version := range []byte{1, 2, 3, 4} {
			other := bytes.Clone(data)
			if other[2] == version {
				continue
			}
			other[2] = version
			if _, err := passport.ParseTrust(other); err == nil || !strings.Contains(err.Error(), "version") {
				t.Errorf("%s: as version %d: %v", name, version, err)
			}
		}
	}
}

// named are witnesses with the ledger's key: any key does for their form.
func named(t *passport.Trust, names ...string) (out []passport.Witness) {
	for _, n := range names {
		out = append(out, passport.Witness{Name: n, Key: t.Logs[0].Key})
	}
	return out
}

// TestWitnessWords: a verdict says how many witnesses there were and what that
// does not exclude, in both languages.
func TestWitnessWords(t *testing.T) {
	for name, want := range map[string][2]string{
		"cosigned":                       {"2 of quorum 2 witnesses cosigned; whoever is shown another ledger", "2 个联署（法定 2 个）；要给别人看"},
		"cosigned-quorum-missed":         {"1 of quorum 2 witnesses cosigned; a split view is not excluded", "1 个联署（法定 2 个）；不能排除"},
		"cosigned-by-nobody":             {"0 of quorum 1 witnesses", "0 个联署"},
		"cosigned-older-checkpoint":      {"a quorum cosigned the first 16 entries", "前 16 条达到法定数"},
		"cosigned-by-a-simulated-device": {"simulated: 1", "其中 1 个是模拟设备"},
		"cosigned-unasked":               {"No witness's cosignature was checked", "没有见证人的联署可供核对"},
		"kept":                           {"No witness's cosignature was checked", "没有见证人的联署可供核对"},
	} {
		for _, c := range passporttest.Standing() {
			if c.Name != name {
				continue
			}
			data, trust := c.Make(t)
			v, err := passport.Verify(data, trust, passporttest.Now())
			if err != nil {
				t.Fatal(err)
			}
			for i, l := range []passport.Lang{passport.English, passport.Chinese} {
				var said strings.Builder
				for _, s := range v.Explain(l, passporttest.Epoch().Location()) {
					said.WriteString(strings.Join(s.Lines, "\n") + "\n")
				}
				if !strings.Contains(said.String(), want[i]) {
					t.Errorf("%s in %s: %q is not in\n%s", name, l, want[i], said.String())
				}
			}
		}
	}
}

// TestCosignedFlips alters every eleventh bit of a cosigned note: each is refused, or the
// line counts for nothing.
func TestCosignedFlips(t *testing.T) {
	data, trust := passporttest.Cosign(t, passporttest.Options{})
	p, err := passport.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	good := p.Ledgers[0].Newest.Note
	refused, tried, step := 0, 0, 11
	if raced {
		step = 61
	}
	for i := 0; i < len(good)*8; i += step {
		tried++
		p.Ledgers[0].Newest.Note = bytes.Clone(good)
		p.Ledgers[0].Newest.Note[i/8] ^= 1 << (i % 8)
		altered, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		v, err := passport.Verify(altered, trust, passporttest.Now())
		if err != nil {
			refused++
			continue
		}
		if n := len(v.Witnesses.Ledgers[0].Cosigned); n == 2 && p.Ledgers[0].Newest.Note[i/8] != '=' {
			// The four bits of base64 that say nothing.
			if was := good[i/8+1]; was != '=' {
				t.Errorf("bit %d of byte %d (%q): still two witnesses", i%8, i/8, good[i/8])
			}
		}
	}
	t.Logf("%d of %d refused", refused, tried)
}
