package station

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"trailmark/internal/dcbor"
	"trailmark/internal/device"
	"trailmark/statement"
	"trailmark/trace"
)

// signed runs a device until it has sent n frames.
func (r *rig) signed(n int) [][]byte {
	r.t.Helper()
	r.start()
	r.connect()
	after(time.Duration(n)*r.c.SealEvery + time.Second)
	sent := r.up.take()
	if len(sent) != n {
		r.t.Fatalf("%d frames, want %d", len(sent), n)
	}
	return sent
}

func TestReceiptsLetGo(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.opt.SegmentBytes = 8 << 10 // so that segments can go
		r.c.Stall = 1000 * time.Hour
		sent := r.signed(20)
		first := r.box.First()
		r.ledger.add(sent[:15]...)
		r.tell(r.ledger.receipts(0, sent[:15]...))
		if got := r.state().Receipted; got != 15 {
			t.Fatalf("receipted below %d, want 15", got)
		}
		if r.box.First() == first || r.box.First() > 15 {
			t.Errorf("card begins at %d", r.box.First())
		}
		size, root := r.ledger.tree.Size(), statement.Hash(r.ledger.tree.Hash())
		// The next frame names the checkpoint that was verified, and a receipt that
		// comes twice or late changes nothing.
		after(r.c.SealEvery)
		more := r.up.take()
		if len(more) != 1 {
			t.Fatalf("%d frames", len(more))
		}
		d, err := statement.ParseUp(more[0])
		if err != nil {
			t.Fatal(err)
		}
		if a := d.Frame.After; a == nil || a.Size != size || a.Root != root || a.Origin != originHash() || a.ChainID != "" {
			t.Errorf("after %+v", a)
		}
		late := r.ledger.receipts(0, sent[14])
		r.ledger.add(append(sent[15:], more...)...)
		r.tell(r.ledger.receipts(size, append(sent[15:], more...)...))
		r.tell(late)
		if got := r.state(); got.Receipted != 21 || got.Checked.Size != r.ledger.tree.Size() || got.Alarm {
			t.Errorf("state %+v", got)
		}
		if got := r.box.Next() - r.box.First(); got == 0 {
			t.Error("the newest frame was let go of")
		}
		after(r.c.Every) // so that there is something to seal at the stop
		r.halt()
		// What was verified is known after a restart, and so is the chain.
		r.start()
		if got := r.state(); got.Checked.Size != r.ledger.tree.Size() || got.Next != 22 || got.Receipted != 21 {
			t.Errorf("after a restart: next %d, %+v", got.Next, got.Checked)
		}
		r.halt()
	})
}

// A receipt for a later frame does not let go of an earlier one without.
func TestHoleInReceipts(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.c.Stall = 1000 * time.Hour
		sent := r.signed(5)
		r.ledger.add(sent...)
		r.tell(r.ledger.receipts(0, sent[0], sent[1], sent[3], sent[4]))
		if got := r.state().Receipted; got != 2 {
			t.Fatalf("receipted below %d, want 2", got)
		}
		r.tell(r.ledger.receipts(r.ledger.tree.Size(), sent[2]))
		if got := r.state().Receipted; got != 5 {
			t.Fatalf("receipted below %d, want 5", got)
		}
		r.halt()
	})
}

func TestReceiptRefusals(t *testing.T) {
	for _, c := range []struct {
		name    string
		spoil   func(r *rig, sent [][]byte) *statement.Receipts
		checked bool // the checkpoint itself is good
		alarm   bool
	}{
		{"foreign id", func(r *rig, sent [][]byte) *statement.Receipts {
			m := r.ledger.receipts(2, sent...)
			m.Included[2].ID[0]++
			return m
		}, true, true},
		{"seq that was never signed", func(r *rig, sent [][]byte) *statement.Receipts {
			m := r.ledger.receipts(2, sent[3])
			m.Included[0].Seq = 99
			return m
		}, true, true},
		{"wrong path", func(r *rig, sent [][]byte) *statement.Receipts {
			m := r.ledger.receipts(2, sent[1:]...)
			m.Included[0].Path[0][0]++
			return m
		}, true, false},
		{"wrong index", func(r *rig, sent [][]byte) *statement.Receipts {
			m := r.ledger.receipts(2, sent[1:]...)
			m.Included[0].Index++
			return m
		}, true, false},
		{"another frame's path", func(r *rig, sent [][]byte) *statement.Receipts {
			m := r.ledger.receipts(2, sent[1], sent[2])
			m.Included[0].Path, m.Included[0].Index = m.Included[1].Path, m.Included[1].Index
			return statementOf(m, 0)
		}, true, false},
		{"another log key", func(r *rig, sent [][]byte) *statement.Receipts {
			other := newLedger(r.t)
			other.tree, other.index = r.ledger.tree, r.ledger.index
			return other.receipts(2, sent...)
		}, false, false},
		{"not a checkpoint", func(r *rig, sent [][]byte) *statement.Receipts {
			m := r.ledger.receipts(2, sent...)
			m.Checkpoint = []byte("hello\n")
			return m
		}, false, false},
		{"inconsistent checkpoint", func(r *rig, sent [][]byte) *statement.Receipts {
			fork := newLedger(r.t)
			fork.signer = r.ledger.signer // the log's own key: a second history
			fork.tree.AppendData([]byte("one"), []byte("two"))
			fork.add(sent...)
			return fork.receipts(2, sent...)
		}, false, false},
		{"same size, another root", func(r *rig, sent [][]byte) *statement.Receipts {
			fork := newLedger(r.t)
			fork.signer = r.ledger.signer
			fork.tree.AppendData([]byte("one"))
			return fork.receipts(2)
		}, false, false},
		{"consistency from another size", func(r *rig, sent [][]byte) *statement.Receipts {
			m := r.ledger.receipts(3, sent...)
			return m
		}, false, false},
		{"consistency from nothing", func(r *rig, sent [][]byte) *statement.Receipts {
			return r.ledger.receipts(0, sent...)
		}, false, false},
		{"wrong consistency path", func(r *rig, sent [][]byte) *statement.Receipts {
			m := r.ledger.receipts(2, sent...)
			m.Consistency[0].Path[0][0]++
			return m
		}, false, false},
		{"older checkpoint", func(r *rig, sent [][]byte) *statement.Receipts {
			m := r.ledger.receipts(2, sent...)
			m.Checkpoint = r.ledger.checkpoint(1)
			return m
		}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bench(t, func(t *testing.T, r *rig) {
				r.c.Stall, r.opt.SegmentBytes = 1000*time.Hour, 8<<10
				sent := r.signed(12)
				r.ledger.add(sent[0])
				r.tell(r.ledger.receipts(0, sent[0])) // verified: size 2, frame 0
				r.ledger.add(sent...)
				kept, before := r.box.First(), r.state()
				m := c.spoil(r, sent)
				r.tell(m)
				st := r.state()
				if r.box.First() != kept {
					t.Errorf("card begins at %d, was %d", r.box.First(), kept)
				}
				if !c.alarm && st.Receipted != before.Receipted {
					t.Errorf("receipted below %d, was %d", st.Receipted, before.Receipted)
				}
				if got := st.Checked != before.Checked; got != c.checked {
					t.Errorf("checkpoint taken: %v", got)
				}
				if st.Alarm != c.alarm {
					t.Errorf("alarm: %v", st.Alarm)
				}
				// An alarm stays: a good receipt later lets go of nothing.
				r.tell(r.ledger.receipts(r.state().Checked.Size, sent...))
				after(r.c.SealEvery)
				if c.alarm != (r.box.First() == kept) || c.alarm != r.said().Alarm {
					t.Errorf("after good receipts the card begins at %d, was %d", r.box.First(), kept)
				}
				r.halt()
				ds := r.chain(append(sent, r.up.take()...))
				tampers := len(happenings(ds, statement.Tamper))
				twoLedgers := c.name == "same size, another root" || c.name == "inconsistent checkpoint" || c.name == "wrong consistency path"
				if want := c.alarm || twoLedgers; want != (tampers == 1) {
					t.Errorf("%d tamper happenings", tampers)
				}
				r.start()
				if r.state().Alarm != c.alarm {
					t.Errorf("alarm after a restart: %v", r.state().Alarm)
				}
				r.halt()
			})
		})
	}
}

// statementOf keeps one receipt.
func statementOf(m *statement.Receipts, i int) *statement.Receipts {
	m.Included = m.Included[i : i+1]
	return m
}

func (r *rig) identity(of statement.Key, by *statement.Signer, role statement.Role) []byte {
	r.t.Helper()
	s, err := by.Sign(statement.Header{Issuer: "urn:test:authority", Audience: audience, Kind: statement.KindIdentity},
		dcbor.MustMarshal(&statement.Identity{Version: 1, Key: statement.PublicKey{Key: of}, Subject: "urn:test:site", Role: role, To: 1 << 47}))
	if err != nil {
		r.t.Fatal(err)
	}
	return s.Bytes()
}

func (r *rig) planDown(seq uint64, nominal int64, limits ...trace.Limit) *statement.PlanDown {
	r.t.Helper()
	p := &statement.Plan{Version: 1, Seq: seq, Site: statement.Texts{{Lang: "en", Words: "depot"}}, Zones: []statement.Zone{{ID: "z",
		Name: statement.Texts{{Lang: "en", Words: "room"}}, Channels: []statement.Channel{
			{Device: r.c.Key, Name: "28-1/temp", Unit: "Cel", Nominal: nominal, Limits: limits},
			{Device: r.c.Key, Name: "28-9/temp", Unit: "Cel", Nominal: nominal}, // which nobody found
			{Device: statement.Hash{5}, Name: "28-8/temp", Unit: "Cel", Nominal: nominal}}}}}
	if seq > 0 {
		p.Prev = statement.Hash{1}
	}
	s, err := r.site.Sign(statement.Header{Issuer: "urn:test:site", Audience: audience, Kind: statement.KindPlan}, dcbor.MustMarshal(p))
	if err != nil {
		r.t.Fatal(err)
	}
	return &statement.PlanDown{Type: statement.DownPlan, Plan: s.Bytes(), Identities: [][]byte{r.identity(r.site.Key(), r.authority, statement.RoleSite)}}
}

func (r *rig) opened(m *statement.PlanDown) *device.Plan {
	r.t.Helper()
	p, err := device.OpenPlan(audience, r.authority.Key(), m.Plan, m.Identities)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func TestPlans(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		first, second := r.planDown(0, 10_000), r.planDown(5, 20_000)
		r.plans = []*device.Plan{r.opened(first)}
		r.start()
		after(r.c.SealEvery + time.Second)
		for _, c := range []struct {
			name  string
			spoil func(*statement.PlanDown)
		}{
			{"no identity", func(m *statement.PlanDown) { m.Identities = nil }},
			{"unknown authority", func(m *statement.PlanDown) {
				m.Identities = [][]byte{r.identity(r.site.Key(), signer(t), statement.RoleSite)}
			}},
			{"wrong role", func(m *statement.PlanDown) {
				m.Identities = [][]byte{r.identity(r.site.Key(), r.authority, statement.RoleOrganisation)}
			}},
			{"broken signature", func(m *statement.PlanDown) {
				m.Plan = bytes.Clone(m.Plan)
				m.Plan[len(m.Plan)-1]++
			}},
			{"not a plan", func(m *statement.PlanDown) { m.Plan = m.Identities[0] }},
		} {
			m := *second
			c.spoil(&m)
			if r.tell(&m); r.state().PlanSeq != 0 || len(r.saved) != 0 {
				t.Errorf("%s: taken", c.name)
			}
		}
		r.tell(second)
		r.tell(second)
		if len(r.saved) != 1 || !bytes.Equal(r.saved[0], dcbor.MustMarshal(second)) {
			t.Fatalf("%d plans kept", len(r.saved))
		}
		for _, older := range []*statement.PlanDown{first, r.planDown(4, 1000), r.planDown(5, 1000)} {
			if r.tell(older); r.state().PlanSeq != 5 || len(r.saved) != 1 {
				t.Error("a plan that is not newer was taken")
			}
		}
		after(r.c.SealEvery)
		r.halt()
		// The older plan alone is no reason to go back to it.
		r.start()
		if look(r, func() *device.Plan { return r.st.plan }) != nil || r.state().PlanSeq != 5 {
			t.Errorf("plan after a restart without the file")
		}
		r.halt()
		r.plans = append(r.plans, r.opened(second))
		r.start()
		after(r.c.SealEvery)
		r.halt()
		ds := r.chain(r.card())
		id := r.opened(second).ID
		if ds[0].Frame.Plan != r.opened(first).ID || ds[1].Frame.Plan != id || ds[len(ds)-1].Frame.Plan != id {
			t.Errorf("plans in frames: %s, %s", ds[0].Frame.Plan, ds[1].Frame.Plan)
		}
		if n := starts(ds); n != 2 && n != 4 { // the run without the file may have sealed a frame
			t.Errorf("%d traces", n)
		}
		if lost := happenings(ds[:2], statement.Lost); len(lost) != 1 || lost[0].Subject != "28-9/temp" {
			t.Errorf("lost %+v", lost)
		}
	})
}

func TestFinal(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.c.Stall = 1000 * time.Hour
		sent := r.signed(3)
		r.ledger.add(sent[0])
		r.tell(r.ledger.receipts(0, sent[0]))
		size, root := r.ledger.tree.Size(), statement.Hash(r.ledger.tree.Hash())
		r.ledger.add(sent[1:]...)
		r.tell(r.ledger.receipts(size, sent[1:]...))
		good := statement.After{Origin: originHash(), Size: size, Root: root, ChainID: "chain", Height: 7, BlockHash: statement.Hash{7}}
		for _, c := range []struct {
			name  string
			spoil func(*statement.After)
		}{
			{"root", func(a *statement.After) { a.Root[0]++ }},
			{"size", func(a *statement.After) { a.Size++ }},
			{"origin", func(a *statement.After) { a.Origin[0]++ }},
			{"no block", func(a *statement.After) { a.ChainID, a.Height, a.BlockHash = "", 0, statement.Hash{} }},
		} {
			a := good
			c.spoil(&a)
			if r.tell(&statement.Final{Type: statement.DownFinal, After: a}); r.state().Final != (device.Block{}) {
				t.Errorf("%s: taken", c.name)
			}
		}
		r.tell(&statement.Final{Type: statement.DownFinal, After: good}) // of an older checkpoint that was verified
		older := good
		older.Height, older.BlockHash = 6, statement.Hash{6}
		r.tell(&statement.Final{Type: statement.DownFinal, After: older})
		after(r.c.SealEvery)
		more := r.up.take()
		d, err := statement.ParseUp(more[0])
		if err != nil {
			t.Fatal(err)
		}
		if a := d.Frame.After; a.ChainID != "chain" || a.Height != 7 || a.BlockHash != (statement.Hash{7}) || a.Size != r.ledger.tree.Size() {
			t.Errorf("after %+v", a)
		}
		r.halt()
	})
}

// A long backlog flows, never more than the window ahead of the receipts.
func TestWindow(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.c.SealEvery, r.c.Stall = 10*time.Second, 1000*time.Hour
		r.start()
		after(2000 * time.Second)
		total := int(r.box.Next())
		r.connect()
		var sent [][]byte
		for range 10 {
			more := r.up.take()
			if len(more) > inFlight {
				t.Fatalf("%d frames at once", len(more))
			}
			size := r.state().Checked.Size
			r.ledger.add(more...)
			r.tell(r.ledger.receipts(size, more...))
			sent = append(sent, more...)
		}
		if len(sent) < total || r.state().Receipted < uint64(total) {
			t.Errorf("%d of %d sent, receipted below %d", len(sent), total, r.state().Receipted)
		}
		r.chain(sent)
		r.halt()
	})
}

func TestStallMakesConnectionAnew(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.start()
		r.connect()
		after(r.c.SealEvery + 20*time.Second)
		sent := r.up.take()
		if r.up.given() != 0 {
			t.Fatal("connected anew without need")
		}
		after(20 * time.Second)
		if r.up.given() != 1 {
			t.Fatalf("%d resets after 40 s without a receipt", r.up.given())
		}
		r.connect()
		after(time.Second)
		again := r.up.take()
		if len(sent) != 1 || len(again) != 1 || !bytes.Equal(sent[0], again[0]) {
			t.Errorf("%d frames sent, %d sent again", len(sent), len(again))
		}
		after(50 * time.Second) // patience has doubled
		if r.up.given() != 1 {
			t.Errorf("%d resets", r.up.given())
		}
		r.halt()
	})
}

func TestResend(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.c.Stall = 1000 * time.Hour
		sent := r.signed(5)
		r.ledger.add(sent[:2]...)
		r.tell(r.ledger.receipts(0, sent[:2]...))
		ask := func(epoch, from uint64) int {
			r.tell(&statement.Resend{Type: statement.DownResend, Epoch: epoch, From: from})
			return len(r.up.take())
		}
		if n := ask(1, 2); n != 0 {
			t.Errorf("another epoch: %d frames", n)
		}
		if n := ask(0, 99); n != 0 {
			t.Errorf("unsigned: %d frames", n)
		}
		if n := ask(0, 3); n != 2 {
			t.Errorf("from 3: %d frames of 2", n)
		}
		if n := ask(0, 3); n != 0 {
			t.Errorf("asked again at once: %d frames", n)
		}
		after(resendPause)
		if n := ask(0, 1); n != 4 { // a gateway that lost what it had receipted
			t.Errorf("from 1: %d frames of 4", n)
		}
		// Its receipts move the window again.
		r.ledger.add(sent...)
		r.tell(r.ledger.receipts(r.state().Checked.Size, sent...))
		if r.state().Receipted != 5 || look(r, func() uint64 { return r.st.window.low }) != 5 {
			t.Errorf("receipted below %d, window from %d", r.state().Receipted, look(r, func() uint64 { return r.st.window.low }))
		}
		r.halt()
	})
}

// Stopping hands over what there is, when the gateway answers within two seconds.
func TestStopFlushes(t *testing.T) {
	bench(t, func(t *testing.T, r *rig) {
		r.start()
		r.connect()
		after(15 * time.Second)
		begun := time.Now()
		done := make(chan error)
		go func() { done <- r.stop() }()
		synctest.Wait()
		sent := r.up.take()
		if len(sent) != 1 {
			t.Fatalf("%d frames at the stop", len(sent))
		}
		r.ledger.add(sent...)
		r.up.down <- dcbor.MustMarshal(r.ledger.receipts(0, sent...))
		if err := <-done; err != nil || time.Since(begun) != 0 {
			t.Errorf("stopped after %v: %v", time.Since(begun), err)
		}
		if r.status.Receipted != 1 {
			t.Errorf("status %+v", r.status)
		}
		r.start()
		r.connect()
		after(15 * time.Second)
		begun = time.Now()
		if r.halt(); time.Since(begun) != parting {
			t.Errorf("without an answer stopped after %v", time.Since(begun))
		}
	})
}

func FuzzDown(f *testing.F) {
	l := newLedger(f)
	f.Add(dcbor.MustMarshal(l.receipts(0)))
	f.Add(dcbor.MustMarshal(&statement.Resend{Type: statement.DownResend}))
	f.Add(dcbor.MustMarshal(&statement.Final{Type: statement.DownFinal}))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newRig(t)
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		defer r.box.Close()
		r.st.down(t.Context(), data)
		if r.st.st.Receipted != 0 || r.st.plan != nil || r.st.st.Checked.Size != 0 {
			t.Fatal("a message that nobody signed had an effect")
		}
	})
}
