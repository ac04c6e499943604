package enrol

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"trailmark/gateway/internal/store"
	"trailmark/internal/device"
	"trailmark/statement"
)

// admitted are n devices with a key and not yet a place in the plan.
func admitted(t testing.TB, o *Office, claims string, seed byte, n int) []*statement.Identity {
	t.Helper()
	out := make([]*statement.Identity, n)
	for i := range out {
		code := fmt.Sprintf("AAA-A%c%c-AAA", alphabet[int(seed)+i], alphabet[i])
		claim(t, claims, code, "cold1")
		id, err := o.Admit(t.Context(), code, public(t, seed+byte(i)), "pi")
		if err != nil {
			t.Fatal(err)
		}
		out[i] = id
	}
	return out
}

// describeTogether lets devices ask while a plan is being made.
func describeTogether(t testing.TB, o *Office, ids []*statement.Identity, report func(i int) device.Report) []error {
	errs := make([]error, len(ids))
	var all sync.WaitGroup
	o.mu.Lock()
	for i, id := range ids {
		all.Go(func() { _, errs[i] = o.Describe(t.Context(), id, report(i)) })
	}
	for waiting := 0; waiting < len(ids); time.Sleep(time.Millisecond) {
		o.queue.Lock()
		waiting = len(o.described)
		o.queue.Unlock()
	}
	o.mu.Unlock()
	all.Wait()
	return errs
}

func TestDescribedTogether(t *testing.T) {
	o, _, claims := newOffice(t)
	ids := admitted(t, o, claims, 1, 5)
	for _, err := range describeTogether(t, o, ids, func(int) device.Report { return found }) {
		if err != nil {
			t.Error(err)
		}
	}
	plan, err := o.Plan(t.Context())
	if err != nil || plan.Seq != 0 {
		t.Fatalf("%+v, %v; want one plan for all", plan, err)
	}
	for _, id := range ids {
		if !lists(plan, id.Key.ID()) {
			t.Errorf("the plan leaves out %.8s…", id.Key.ID())
		}
	}

	// One that no plan can carry keeps nobody else out.
	ids = admitted(t, o, claims, 10, 5)
	errs := describeTogether(t, o, ids, func(i int) device.Report {
		if i == 2 {
			return device.Report{Channels: []device.ReportChannel{{Name: "x", Nominal: 1000}}} // no unit
		}
		return found
	})
	after, err := o.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		if i == 2 {
			refuses(t, errs[i], 400, "plan")
		} else if errs[i] != nil {
			t.Errorf("device %d: %v", i, errs[i])
		}
		if lists(after, id.Key.ID()) != (i != 2) {
			t.Errorf("device %d: the plan lists it: %v", i, i == 2)
		}
	}
	if lists(plan, ids[0].Key.ID()) {
		t.Error("the plan before was changed")
	}
}

// TestRegisterSeesWhatOthersStore: statements also come signed elsewhere.
func TestRegisterSeesWhatOthersStore(t *testing.T) {
	o, keys, claims := newOffice(t)
	if _, err := o.register.Message(t.Context()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("before the first plan: %v", err)
	}
	claim(t, claims, "ABC-DEF-GHJ", "cold1")
	admit(t, o, "ABC-DEF-GHJ", 1)
	first, err := o.register.Message(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	plan, s, err := o.register.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := *plan
	next.Seq, next.Prev = plan.Seq+1, s.ID()
	signed, err := keys.Plan(next)
	if err != nil {
		t.Fatal(err)
	}
	if err := o.gate.Add(t.Context(), signed); err != nil {
		t.Fatal(err)
	}
	if id, err := o.NewestPlan(t.Context()); err != nil || id != signed.ID() {
		t.Errorf("plan in force %v, %v", id, err)
	}
	second, err := o.register.Message(t.Context())
	if err != nil || bytes.Equal(first, second) || !bytes.Contains(second, signed.Bytes()) {
		t.Errorf("message of %d bytes, %v", len(second), err)
	}
}

// TestTell: a device that waits is sent one plan, the newest, and no faster than
// planRate.
func TestTell(t *testing.T) {
	o, _, claims := newOffice(t)
	ids := admitted(t, o, claims, 1, 3)
	for _, id := range ids {
		if _, err := o.Describe(t.Context(), id, found); err != nil {
			t.Fatal(err)
		}
	}
	want, err := o.register.Message(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	sent := map[statement.Hash]int{}
	began := time.Now()
	o.post = func(_ context.Context, kid statement.Hash, msg []byte) error {
		if sent[kid]++; !bytes.Equal(msg, want) {
			t.Error("not the newest plan")
		}
		if len(sent) == len(ids) {
			cancel()
		}
		return errors.New("a device that is away")
	}
	if err := o.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if took, least := time.Since(began), 2*time.Duration(len(want))*time.Second/planRate; took < least {
		t.Errorf("told %d devices in %v, want at least %v", len(ids), took, least)
	}
	for kid, n := range sent {
		if n != 1 {
			t.Errorf("%.8s… was told %d times", kid, n)
		}
	}
}

// BenchmarkDescribe is one more device at a site of 300.
func BenchmarkDescribe(b *testing.B) {
	o, _, claims := newOffice(b)
	join := func(n int) {
		code := fmt.Sprintf("AAA-%c%c%c-AAA", alphabet[n/900%30], alphabet[n/30%30], alphabet[n%30])
		claim(b, claims, code, "cold1", simulated)
		seed := sha256.Sum256([]byte(code))
		key, err := statement.NewKey(ed25519.NewKeyFromSeed(seed[:]).Public())
		if err != nil {
			b.Fatal(err)
		}
		id, err := o.Admit(b.Context(), code, key, "sim")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := o.Describe(b.Context(), id, found); err != nil {
			b.Fatal(err)
		}
	}
	for n := range 300 {
		join(n)
	}
	n := 300
	for b.Loop() {
		join(n)
		n++
	}
}
