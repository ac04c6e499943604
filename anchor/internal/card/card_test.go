package card

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"

	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/passport"
	"trailmark/statement"
	"trailmark/trace"
)

const (
	audience = "demo/test"
	subject  = "urn:dev:test:1"
	channel  = "28-0316a2795fff/temp"
	silent   = "28-0316a2795ffe/temp" // answers in some frames only
	origin   = "example.org/demo/2026h2"
	epoch0   = int64(1_793_491_200_000)
)

func signer(t *testing.T, seed byte) *statement.Signer {
	t.Helper()
	s, err := statement.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rig is a device, those who vouch for it, and the frames it signed.
type rig struct {
	t                       *testing.T
	authority, site, device *statement.Signer
	identities              [][]byte
	plan                    *statement.Statement
	entry                   statement.Channel
	states                  []device.State // after each frame
	ups                     [][]byte
}

func (r *rig) sign(by *statement.Signer, kind statement.Kind, issuer string, payload any) *statement.Statement {
	r.t.Helper()
	data, err := dcbor.Marshal(payload)
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := by.Sign(statement.Header{Kind: kind, Issuer: issuer, Audience: audience}, data)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) identify(k statement.Key, who string, role statement.Role) []byte {
	return r.sign(r.authority, statement.KindIdentity, "urn:authority", &statement.Identity{Version: 1, Key: statement.PublicKey{Key: k},
		Subject: who, Role: role, From: 0, To: epoch0 * 2}).Bytes()
}

// newRig signs n frames: the first two before any plan, the checkpoint verified
// from the fourth on.
func newRig(t *testing.T, n int) *rig {
	r := &rig{t: t, authority: signer(t, 1), site: signer(t, 2), device: signer(t, 3)}
	r.identities = [][]byte{r.identify(r.device.Key(), subject, statement.RoleDevice), r.identify(r.site.Key(), "urn:site", statement.RoleSite)}
	r.entry = statement.Channel{Device: r.device.Key().ID(), Name: channel, Unit: "Cel", Nominal: 60_000,
		Limits: []trace.Limit{{Comparison: trace.AtOrAbove, Value: 8000}}}
	r.plan = r.sign(r.site, statement.KindPlan, "urn:site", &statement.Plan{Version: 1, Site: statement.Texts{{Lang: "en", Words: "site"}},
		Zones: []statement.Zone{{ID: "cold", Name: statement.Texts{{Lang: "en", Words: "cold"}}, Channels: []statement.Channel{r.entry}, ReRead: 60_000}}})
	sealer := device.Sealer{Signer: r.device, Issuer: subject, Audience: audience}
	st := device.NewState(0, statement.Hash{})
	for i := range n {
		now := epoch0 + int64(i+1)*60_000
		in := device.Input{Clock: statement.Clock{BootID: [16]byte{1}, BootCount: 1, Boottime: int64(i+1) * 60e9, Wall: now, Quality: statement.ClockSynchronised},
			Readings:   []device.ChannelReadings{{Channel: channel, Times: []int64{now - 30_000, now}, Values: []int64{4000, 9000}}},
			Happenings: []*statement.Happening{{Type: statement.Door, At: now}}}
		if i%3 == 1 {
			in.Readings = append(in.Readings, device.ChannelReadings{Channel: silent, Times: []int64{now}, Values: []int64{5000}})
		}
		if i > 1 {
			in.Plan = r.plan.ID()
			in.Entries = func(name string) *statement.Channel {
				if name == channel {
					return &r.entry
				}
				return nil
			}
		}
		if i > 2 {
			st.Checked = device.Checkpoint{Origin: sha256.Sum256([]byte(origin)), Size: uint64(i), Root: statement.Hash{byte(i)}}
		}
		sealed, err := sealer.Seal(st, in)
		if err != nil {
			t.Fatal(err)
		}
		st = sealed.Next
		r.states, r.ups = append(r.states, st), append(r.ups, sealed.Up)
	}
	return r
}

func (r *rig) encode(v any) []byte {
	r.t.Helper()
	b, err := dcbor.Marshal(v)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// items are those of the card with the frames that keep says, by index.
func (r *rig) items(keep ...int) [][]byte {
	head := statement.CardHead{Mark: statement.CardMark, Version: 1}
	for _, c := range r.states[keep[0]].Channels {
		head.Traces = append(head.Traces, statement.CardTrace{Start: c.Start, Frontier: c.Frontier})
	}
	out := append([][]byte{r.encode(head)}, r.identities...)
	out = append(out, r.plan.Bytes())
	for _, i := range keep {
		out = append(out, r.ups[i])
	}
	if c := r.states[keep[len(keep)-1]].Checked; c.Size > 0 {
		out = append(out, r.encode(statement.CardCheckpoint{Origin: origin, Size: c.Size, Root: c.Root}))
	}
	return out
}

func (r *rig) trust() *passport.Trust {
	return &passport.Trust{Version: 1, Audience: audience, Authorities: []statement.PublicKey{{Key: r.authority.Key()}},
		Logs: []passport.Log{{Origin: origin, Key: statement.PublicKey{Key: r.authority.Key()}}}}
}

func TestVerify(t *testing.T) {
	r := newRig(t, 9)
	for _, c := range []struct {
		name       string
		keep       []int
		missing    [][2]uint64
		unfollowed uint64
	}{
		{"from the first frame of all", []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, nil, 0},
		{"what an agent let go of is not on it", []int{4, 5, 6, 7, 8}, nil, 0},
		{"a trace that begins in the first frame kept", []int{2, 3, 4, 5}, nil, 0},
		{"one frame", []int{6}, nil, 0},
		{"damage in between", []int{3, 4, 6, 7, 8}, [][2]uint64{{5, 5}}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Verify(bytes.NewReader(bytes.Join(r.items(c.keep...), nil)), r.trust())
			if err != nil {
				t.Fatal(err)
			}
			n := len(c.keep)
			if got.Frames != uint64(n) || got.First != uint64(c.keep[0]) || got.Last != uint64(c.keep[n-1]) || got.KeyID != r.device.Key().ID() ||
				got.Happenings != uint64(n) || got.Readings < uint64(2*n) || got.Unknown != 0 {
				t.Errorf("%+v", got)
			}
			if !slices.Equal(got.Missing, c.missing) || got.Unfollowed != c.unfollowed {
				t.Errorf("missing %v, %d blocks not followed; want %v, %d", got.Missing, got.Unfollowed, c.missing, c.unfollowed)
			}
			if last := r.states[c.keep[n-1]].Checked; got.Size != last.Size || last.Size > 0 && got.Origin != origin {
				t.Errorf("checkpoint %q of %d entries, want %d", got.Origin, got.Size, last.Size)
			}
		})
	}
}

// reseal signs frame i again with what change makes of its message, so that only
// the check for that can find it.
func (r *rig) reseal(i int, change func(f *statement.Frame, bodies *[]statement.Body)) []byte {
	r.t.Helper()
	d, err := statement.ParseUp(r.ups[i])
	if err != nil {
		r.t.Fatal(err)
	}
	f, bodies := *d.Frame, slices.Clone(d.Bodies)
	change(&f, &bodies)
	f.Root, f.Count = statement.RecordsRoot(statement.Records(d.Seed, bodies)), uint64(len(bodies))
	s, err := r.device.Sign(d.Statement.Header, r.encode(f))
	if err != nil {
		r.t.Fatal(err)
	}
	up, err := statement.EncodeUp(s, d.Seed, bodies)
	if err != nil {
		r.t.Fatal(err)
	}
	return up
}

func TestRefused(t *testing.T) {
	const first = 4 // items: head, two identities, plan, then frames
	r := newRig(t, 6)
	all := []int{0, 1, 2, 3, 4, 5}
	for _, c := range []struct {
		name  string
		spoil func(items [][]byte, trust *passport.Trust) [][]byte
		want  string
	}{
		{"a bit of a frame", func(items [][]byte, _ *passport.Trust) [][]byte {
			items[first+3] = bytes.Clone(items[first+3])
			items[first+3][len(items[first+3])-3] ^= 1
			return items
		}, "item 7"},
		{"order", func(items [][]byte, _ *passport.Trust) [][]byte {
			items[first+1], items[first+2] = items[first+2], items[first+1]
			return items
		}, "comes after frame"},
		{"a frame twice", func(items [][]byte, _ *passport.Trust) [][]byte { return slices.Insert(items, first+2, items[first+1]) }, "comes after frame"},
		{"another history", func(items [][]byte, _ *passport.Trust) [][]byte {
			items[first+2] = r.reseal(2, func(f *statement.Frame, _ *[]statement.Body) { f.Note = "other" })
			return items
		}, "does not follow frame 2"},
		{"a value under a valid signature", func(items [][]byte, _ *passport.Trust) [][]byte {
			items[first+5] = r.reseal(5, func(_ *statement.Frame, bodies *[]statement.Body) {
				v, err := (*bodies)[0].Decode()
				if err != nil {
					t.Fatal(err)
				}
				b := v.(*statement.Block)
				b.Values[1] = 7000
				if (*bodies)[0], err = statement.NewBody(b); err != nil {
					t.Fatal(err)
				}
			})
			return items[:first+6]
		}, "is not the trace of size 3 and this block"},
		{"a head that is ahead", func(items [][]byte, _ *passport.Trust) [][]byte {
			return append([][]byte{r.items(1)[0]}, items[1:]...)
		}, "names one of size 0 before it, the file has one of size 1"},
		{"a head that was made up", func(items [][]byte, _ *passport.Trust) [][]byte {
			items = r.items(3, 4, 5)
			return append([][]byte{r.items(4)[0]}, items[1:]...)
		}, "does not agree with the signed head"},
		{"no head", func(items [][]byte, _ *passport.Trust) [][]byte { return items[1:] }, "item 0"},
		{"no identity", func(items [][]byte, _ *passport.Trust) [][]byte { return slices.Delete(items, 1, 2) }, "not that of a device"},
		{"another authority", func(items [][]byte, trust *passport.Trust) [][]byte {
			trust.Authorities[0].Key = r.site.Key()
			return items
		}, "not one the authority vouches for"},
		{"another audience", func(items [][]byte, trust *passport.Trust) [][]byte {
			trust.Audience = "demo/production"
			return items
		}, "demo"},
		{"another's plan", func(items [][]byte, _ *passport.Trust) [][]byte {
			items[3] = r.sign(r.device, statement.KindPlan, subject, &statement.Plan{Version: 1, Site: statement.Texts{{Lang: "en", Words: "x"}},
				Zones: []statement.Zone{{ID: "z", Name: statement.Texts{{Lang: "en", Words: "z"}}}}}).Bytes()
			return items
		}, "role"},
		{"a ledger that nobody pinned", func(items [][]byte, trust *passport.Trust) [][]byte {
			trust.Logs[0].Origin = "example.org/other"
			return items
		}, "not one of the trust file's"},
		{"another checkpoint", func(items [][]byte, _ *passport.Trust) [][]byte {
			items[len(items)-1] = r.encode(statement.CardCheckpoint{Origin: origin, Size: 99, Root: statement.Hash{9}})
			return items
		}, "not the one that the newest frame names"},
		{"more behind the end", func(items [][]byte, _ *passport.Trust) [][]byte { return append(items, r.ups[5]) }, "follows the checkpoint"},
		{"an identity behind a frame", func(items [][]byte, _ *passport.Trust) [][]byte { return slices.Insert(items, first+1, items[1]) }, "after the first frame"},
		{"cut short", func(items [][]byte, _ *passport.Trust) [][]byte {
			items[len(items)-1] = items[len(items)-1][:5]
			return items
		}, "unexpected EOF"},
		{"something else", func(items [][]byte, _ *passport.Trust) [][]byte { return append(items[:first], []byte{0x01}) }, "neither statement"},
		{"nothing", func([][]byte, *passport.Trust) [][]byte { return nil }, "whose card"},
	} {
		t.Run(c.name, func(t *testing.T) {
			trust := r.trust()
			data := bytes.Join(c.spoil(r.items(all...), trust), nil)
			_, err := Verify(bytes.NewReader(data), trust)
			var no *Refused
			if !errors.As(err, &no) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte{0x83, 0x6e})
	f.Add([]byte("\x83\x6etrailmark-card\x01\x80"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := Verify(bytes.NewReader(data), &passport.Trust{Audience: audience}); err == nil {
			t.Errorf("%+v stands under no authority", r)
		}
	})
}
