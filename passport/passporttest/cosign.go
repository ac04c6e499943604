package passporttest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"testing"

	"trailmark/passport"
	"trailmark/statement"
)

// NamedWitness is the name of a witness that a trust file can pin.
const NamedWitness = "witness.example.org/w1"

// Cosigned has the ledger's checkpoints cosigned, honestly but for what a line
// says.
type Cosigned struct {
	Asks   *passport.Witnesses // of the trust file; nil: it asks for none
	Newest []Line
	Older  []Line // of each older checkpoint
}

// Seeds of the keys that cosign.
const (
	byStore    = 5
	byTruck    = 6
	byNext     = 8 // of a Rotation
	byNamed    = 9
	byStranger = 10
)

// A Line is one signature line of a checkpoint.
type Line struct {
	by     byte
	at     int64 // s; 0: when the newest checkpoint is anchored
	as     byte  // whose name and key id it has; 0: by's
	text   string
	edit   func(sig []byte) // of the time, 8 bytes, and the signature
	spaced bool             // spelled in another of base64's forms
}

// cosignerName is the name that a key cosigns under.
func cosignerName(seed byte) string {
	if seed == byNamed {
		return NamedWitness
	}
	key, err := statement.NewKey(keyOf(seed).Public())
	if err != nil {
		panic(err) // a constant key
	}
	return "trailmark/device/" + key.ID().String()
}

// line makes a signature line as C2SP's tlog-cosignature says, with its own code.
func (l Line) line(text string) string {
	as, at := l.as, uint64(l.at)
	if as == 0 {
		as = l.by
	}
	if at == 0 {
		at = uint64(at720 / 1000)
	}
	if l.text != "" {
		text = l.text
	}
	name := cosignerName(as)
	id := sha256.Sum256(append([]byte(name+"\n\x04"), keyOf(as).Public().(ed25519.PublicKey)...))
	sig := append(binary.BigEndian.AppendUint64(nil, at), ed25519.Sign(keyOf(l.by), fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, text))...)
	if l.edit != nil {
		l.edit(sig)
	}
	b64 := base64.StdEncoding.EncodeToString(append(id[:4:4], sig...))
	if l.spaced { // the last four bits of the 76 bytes say nothing
		const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
		last := len(b64) - 3
		for i := range digits {
			if digits[i] == b64[last] {
				b64 = b64[:last] + digits[i+1:i+2] + b64[last+1:]
				break
			}
		}
	}
	return "— " + name + " " + b64 + "\n"
}

var at720 = at(720)

// cosign adds the lines of a checkpoint to its note.
func (w *world) cosign(note []byte, text string, newest bool) []byte {
	if w.o.Cosigned == nil {
		return note
	}
	lines := w.o.Cosigned.Older
	if newest {
		lines = w.o.Cosigned.Newest
	}
	for _, l := range lines {
		note = append(note, l.line(text)...)
	}
	return note
}

// Asks is a trust file's wish for a quorum of devices.
func Asks(quorum uint64) *passport.Witnesses {
	return &passport.Witnesses{Quorum: quorum, Named: []passport.Witness{}, Devices: true}
}

// asksNamed asks for a quorum of the named witness and, perhaps, of devices.
func asksNamed(quorum uint64, devices bool) *passport.Witnesses {
	key, err := statement.NewKey(keyOf(byNamed).Public())
	if err != nil {
		panic(err) // a constant key
	}
	return &passport.Witnesses{Quorum: quorum, Devices: devices, Named: []passport.Witness{{Name: NamedWitness, Key: statement.PublicKey{Key: key}}}}
}

// cosignedStanding are cases of cosignatures that stand.
func cosignedStanding() []Case {
	store, truck, named := Line{by: byStore}, Line{by: byTruck}, Line{by: byNamed}
	with := func(name string, o Options, asks *passport.Witnesses, newest ...Line) Case {
		o.Cosigned = &Cosigned{Asks: asks, Newest: newest}
		return Case{Name: "cosigned" + name, Options: o}
	}
	flip := func(at int) func([]byte) { return func(sig []byte) { sig[at] ^= 1 } }
	older := Options{Anchored: true}
	older.Cosigned = &Cosigned{Asks: Asks(2), Newest: []Line{store}, Older: []Line{store, truck}}
	enough := Options{Anchored: true}
	enough.Cosigned = &Cosigned{Asks: Asks(1), Newest: []Line{store}, Older: []Line{{by: byTruck, edit: flip(20)}}}
	simulated := Options{Simulated: true}
	return []Case{
		with("", Options{}, Asks(2), store, truck),
		with("-anchored", Options{Anchored: true}, Asks(2), store, truck),
		with("-quorum-missed", Options{}, Asks(2), store),
		with("-by-nobody", Options{}, Asks(1)),
		{Name: "cosigned-older-checkpoint", Options: older},
		{Name: "cosigned-older-checkpoint-not-looked-at", Options: enough},
		with("-by-a-named-witness", Options{}, asksNamed(1, false), store, named),
		with("-by-a-named-witness-and-devices", Options{}, asksNamed(3, true), store, named, truck),
		with("-twice-by-one", Options{}, Asks(3), store, Line{by: byStore, at: at720/1000 + 60}),
		with("-twice-by-one-the-second-altered", Options{}, Asks(1), store, Line{by: byStore, at: at720/1000 + 60, edit: flip(70)}),
		with("-twice-by-one-spelled-otherwise", Options{}, Asks(4), store, Line{by: byStore, spaced: true}),
		with("-by-a-simulated-device", simulated, Asks(2), store, truck),
		with("-by-a-stranger", Options{}, Asks(2), Line{by: byStranger}, Line{by: byStranger, edit: flip(30)}),
		with("-under-anothers-name", Options{}, asksNamed(1, false), Line{by: byStore, edit: flip(30)}),
		with("-by-a-revoked-device", Options{Revoked: statement.RoleDevice, RevokedFrom: 100}, Asks(2), store, truck),
		with("-by-a-rotated-device", Options{Rotated: &Rotation{}}, Asks(2), store, Line{by: byNext}),
		with("-before-its-identity", Options{}, Asks(5), store, Line{by: byTruck, at: at(-1001) / 1000}),
		with("-two-ledgers", Options{Halves: true}, Asks(2), store, truck),
		with("-unasked", Options{Brief: true, Simulated: true}, nil, store, Line{by: byTruck, edit: flip(30)}),
	}
}

// cosignedRefused are cases of cosignatures that no verifier lets by.
func cosignedRefused() (out []Case) {
	add := func(name string, asks *passport.Witnesses, newest ...Line) {
		out = append(out, Case{Name: "cosigned-" + name, Code: passport.CodeCosignature, Options: Options{Cosigned: &Cosigned{Asks: asks, Newest: newest}}})
	}
	store := Line{by: byStore}
	edit := func(at int, bit byte) Line { return Line{by: byTruck, edit: func(sig []byte) { sig[at] ^= bit }} }
	add("by-another-key", Asks(2), store, Line{by: byStranger, as: byTruck})
	add("time-altered", Asks(2), store, edit(7, 1))
	add("signature-altered", Asks(2), store, edit(40, 1))
	add("of-another-checkpoint", Asks(2), store, Line{by: byTruck, text: originOf(0) + "\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"})
	add("beyond-time", Asks(1), store, Line{by: byTruck, at: statement.MaxCosigned + 1})
	add("by-a-named-witness-altered", asksNamed(1, false), Line{by: byNamed, edit: func(sig []byte) { sig[8] ^= 1 }})
	out = append(out, Case{Name: "cosigned-older-checkpoint-altered", Code: passport.CodeCosignature, Options: Options{Anchored: true,
		Cosigned: &Cosigned{Asks: Asks(2), Newest: []Line{store}, Older: []Line{{by: byTruck, edit: func(sig []byte) { sig[20] ^= 1 }}}}}})
	out = append(out, Case{Name: "cosigned-by-a-revoked-device-altered", Code: passport.CodeCosignature, Options: Options{
		Revoked: statement.RoleDevice, RevokedFrom: 100, Cosigned: &Cosigned{Asks: Asks(1), Newest: []Line{store, edit(50, 1)}}}})
	return out
}

// Cosign adds lines by the store's and the truck's device to a passport's newest
// checkpoint, and asks the trust file for a quorum of two.
func Cosign(t testing.TB, o Options) ([]byte, *passport.Trust) {
	t.Helper()
	o.Cosigned = &Cosigned{Asks: Asks(2), Newest: []Line{{by: byStore}, {by: byTruck}}}
	return Make(t, o)
}
