package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"trailmark/agent/internal/station"
	"trailmark/internal/est"
)

// How a device changes its key is the station's to say (station/rotate.go); here is
// who does the steps. A request is a file in the data folder, so that it outlives
// the agent that takes it up:
//
//	rotate.json     the request, until it is carried out or given up
//	key-1.address   where the key of epoch 1 is, once the gateway may have heard of it
//	key-1.pem       that key; outbox-1 its frames
//
// Until the hand-over is signed every step may fail, and then nothing has changed.
// From there on there is no way back, and each step is repeated until it is done.

// requestName is the file that asks for another key.
const requestName = "rotate.json"

const maxRequest = 8 << 10 // bytes

// A request asks the running agent to go on with another key.
type request struct {
	ID    string    `json:"id"`            // so that whoever asked knows the answer
	Epoch uint64    `json:"epoch"`         // to open
	Key   string    `json:"key,omitempty"` // address of its key; "": where the present one is
	Asked time.Time `json:"asked"`
}

func readRequest(dir string) (r request, err error) {
	name := filepath.Join(dir, requestName)
	data, err := readFile(name, maxRequest)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// Patience of a rotation.
var patience = time.Minute // before the hand-over, with gateway and receipts; tests have less

const (
	lookEvery = time.Second // for a request
	askEvery  = 100 * time.Millisecond
	firstWait = time.Second // after a gateway that did not answer, doubled from time to time
	lastWait  = 30 * time.Second
)

// pause waits; false: ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// watch takes up requests for another key until ctx ends, or until one is carried
// out as far as it can be while the epoch lasts. A hand-over that an earlier
// process signed needs no request.
func (a *agent) watch(ctx context.Context, t *tenure, m *membership) {
	for {
		if r, asked := a.asked(t.epoch() + 1); asked || t.handed {
			err := a.rotate(ctx, t, m, r)
			if err == nil || ctx.Err() != nil {
				return
			}
			a.giveUp(r, err)
		}
		if !pause(ctx, lookEvery) {
			return
		}
	}
}

// asked reads the request for the key of an epoch.
func (a *agent) asked(epoch uint64) (request, bool) {
	r, err := readRequest(a.c.Dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return request{}, false
	case err == nil && r.Epoch == epoch:
		return r, true
	case err == nil:
		err = fmt.Errorf("it is for epoch %d, the next one is %d", r.Epoch, epoch) // carried out, and the power went
	}
	a.log.Warn("request for another key dropped", slog.Any("err", err))
	a.withdraw()
	return request{}, false
}

// withdraw ends a request. One that stays is dropped the next time: see asked.
func (a *agent) withdraw() {
	if err := os.Remove(filepath.Join(a.c.Dir, requestName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		a.log.Error("request for another key not removed", slog.Any("err", err))
	}
}

// giveUp tells why a rotation came to nothing.
func (a *agent) giveUp(r request, err error) {
	a.withdraw()
	a.reporter.rotates(&rotation{ID: r.ID, State: err.Error(), Failed: true})
}

// rotate does everything but the last step, which is succeed's. An error says that
// nothing has changed; after the hand-over there is none but the end of ctx.
func (a *agent) rotate(ctx context.Context, t *tenure, m *membership, r request) error {
	say := func(format string, args ...any) {
		a.reporter.rotates(&rotation{ID: r.ID, State: fmt.Sprintf(format, args...)})
	}
	if !t.handed {
		if err := a.offer(ctx, t, m, r, say); err != nil {
			return err
		}
	}
	say("signing the last frame of epoch %d", t.epoch())
	for !a.reporter.handedOver() {
		if !pause(ctx, askEvery) {
			return ctx.Err()
		}
	}
	id, err := t.next.id()
	if err != nil {
		return err
	}
	say("getting the identity of key %.8s", id)
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		err := a.prepare(ctx, t, m)
		if err == nil {
			break
		}
		a.log.Warn("no identity for the next key yet", slog.Any("err", err), slog.Duration("again_in", wait))
		say("getting the identity of key %.8s, again after: %s", id, oneLine(err))
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
	say("waiting for the receipt of the last frame")
	t.ready.Store(true)
	return nil
}

// offer makes the next key, has the gateway vouch for it and hands over to it.
func (a *agent) offer(ctx context.Context, t *tenure, m *membership, r request, say func(string, ...any)) (err error) {
	say("making the next key")
	defer func() {
		if err != nil && t.next != nil {
			t.next.close()
			t.next = nil
		}
	}()
	if t.next, err = openHeir(a.c, t, r.Key); err != nil {
		return err
	}
	id, err := t.next.id()
	if err != nil {
		return err
	}
	until := time.Now().Add(patience)
	const behind = "agent status says how many frames have no receipt, and whether the device is connected"
	say("waiting for receipts")
	if err = insist(ctx, until, askEvery, func() (error, bool) {
		if a.reporter.keptUp() {
			return nil, false
		}
		return station.ErrNotNow, false
	}); err != nil {
		return hinted(err, behind)
	}
	say("asking the gateway to vouch for key %.8s", id)
	note := filepath.Join(a.c.Dir, of(t.epoch()+1, addressName))
	_, noted := os.Stat(note)
	if err := writeFile(note, []byte(t.next.address+"\n")); err != nil {
		return err
	}
	var no *est.Refused
	err = insist(ctx, until, firstWait, func() (error, bool) {
		err := m.current.Load().Announce(ctx, t.key, t.next.key)
		return err, errors.As(err, &no)
	})
	if no != nil && noted != nil {
		// It was not let in, and no earlier one is known: the next may be elsewhere.
		if err := os.Remove(note); err != nil {
			a.log.Error("address of a key that is not used", slog.Any("err", err))
		}
	}
	if no != nil {
		return hinted(err, "ask whoever runs the gateway")
	} else if err != nil {
		return hinted(err, "the gateway must answer before a key can change: agent doctor says whether it does")
	}
	say("handing over to key %.8s", id)
	err = insist(ctx, until, askEvery, func() (error, bool) {
		err := t.station.HandOver(ctx, id)
		return err, err != nil && !errors.Is(err, station.ErrNotNow)
	})
	return hinted(err, behind)
}

// insist repeats f until it returns no error, one that is final, or time is up.
func insist(ctx context.Context, until time.Time, every time.Duration, f func() (err error, final bool)) error {
	for {
		err, final := f()
		if err == nil || final || time.Now().Add(every).After(until) {
			return err
		}
		if !pause(ctx, every) {
			return ctx.Err()
		}
	}
}

// openHeir opens or makes the key of the epoch after t's, at the address that was
// noted for it, or that is wanted, or where the present one is.
func openHeir(c Config, t *tenure, want string) (*tenure, error) {
	epoch := t.epoch() + 1
	noted, err := addressOf(c, epoch)
	switch {
	case err == nil && want != "" && want != noted:
		return nil, fmt.Errorf("the key of epoch %d is made already, at %s, and the gateway may know it\nhint: leave --key away to go on with that one", epoch, noted)
	case err == nil:
		want = noted
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	case want == "":
		want = t.address
	}
	where, err := keyAt(c, epoch, want)
	if err != nil {
		return nil, err
	}
	switch {
	case t.where.Path == where.Path:
		return nil, fmt.Errorf("the next key would be the present one, %s\nhint: give another place with --key", where.Path)
	case t.where.Excludes(where):
		return nil, fmt.Errorf("%s serves one key at a time, and a rotation needs two\nhint: go by way of a file: --key file: first", t.where)
	}
	key, err := where.Open()
	if err != nil {
		return nil, fmt.Errorf("the key of epoch %d: %w", epoch, hinted(err, "give it another place with --key"))
	}
	return &tenure{address: want, where: where, key: key}, nil
}

// prepare gets the identity of the next key, and an empty outbox: what the next
// epoch must find when the enrolment is replaced.
func (a *agent) prepare(ctx context.Context, t *tenure, m *membership) (err error) {
	n := t.next
	if n.enrolment == nil {
		e, err := m.current.Load().Rotate(ctx, t.key, n.key, found(a.c, a.hw.Probes))
		if err != nil {
			return err
		}
		n.enrolment = e
	}
	n.box, err = openBox(a.c, n.epoch())
	return err
}

// succeed replaces the enrolment, once the ledger has the hand-over, and gives the
// tenure that begins with that. It needs nobody but the card.
func (a *agent) succeed(t *tenure) (*tenure, error) {
	next := t.next
	id := next.enrolment.Identity
	var err error
	if next.opening, err = station.Opening(t.box, id.Key.ID()); err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(a.c.Dir, enrolmentName), next.enrolment.Raw); err != nil {
		return nil, fmt.Errorf("keeping the enrolment: %w", err)
	}
	a.log.Info("epoch begins", slog.Uint64("epoch", id.Epoch), slog.String("key", id.Key.ID().String()), slog.String("at", next.where.String()))
	next.before, t.next = t.station, nil
	t.close()
	retire(a.c, id, a.log)
	a.withdraw()
	a.reporter.rotates(nil)
	return next, nil
}

// hinted adds a hint to an error that has none.
func hinted(err error, hint string) error {
	if err == nil || strings.Contains(err.Error(), "\nhint: ") {
		return err
	}
	return fmt.Errorf("%w\nhint: %s", err, hint)
}

func oneLine(err error) string {
	said, _, _ := strings.Cut(err.Error(), "\n")
	return said
}
