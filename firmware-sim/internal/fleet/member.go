package fleet

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"trailmark/internal/device"
	"trailmark/statement"
)

const (
	window    = 64               // frames of a device without a receipt; then it waits
	resend    = 15 * time.Second // after which a frame without a receipt is sent again
	chores    = 5 * time.Second  // between two looks for such frames
	maxPause  = 30 * time.Second // between two connections
	keptHeads = 8                // verified checkpoints that are remembered
	maxBad    = 1024             // statements of a rogue that are
)

// member is one device.
type member struct {
	n           int
	kid         statement.Hash
	name        string // of its MQTT session
	certificate tls.Certificate
	sealer      *device.Sealer
	rogue       bool // set before it lives

	mu      sync.Mutex
	state   device.State                // guarded by mu
	entry   *statement.Channel          // guarded by mu: of the plan in force; nil: none
	waiting []frame                     // guarded by mu: without a receipt, by seq
	heads   []device.Checkpoint         // guarded by mu: verified, newest last
	bad     map[statement.Hash]struct{} // guarded by mu: statements that must not get a receipt
	last    []byte                      // guarded by mu: a rogue's newest message that has a receipt
	sent    uint64                      // guarded by mu: frames of this run
	alarm   bool                        // guarded by mu: somebody else signs with our key
	link    *link                       // guarded by mu: nil while there is none
	pinged  time.Time                   // guarded by mu
}

// frame is one that was signed and has no receipt yet.
type frame struct {
	seq       uint64
	id, entry statement.Hash
	up        []byte
	first     time.Time // sent first; zero: in an earlier run
	again     time.Time // sent last
}

func newMember(n int, priv ed25519.PrivateKey, e *device.Enrolment) (*member, error) {
	signer, err := statement.NewSigner(priv)
	if err != nil {
		return nil, err
	}
	kid := signer.Key().ID()
	m := &member{
		n: n, kid: kid, name: kid.String(),
		certificate: tls.Certificate{Certificate: [][]byte{e.Certificate.Raw}, PrivateKey: priv},
		sealer:      &device.Sealer{Signer: signer, Issuer: e.Identity.Subject, Audience: e.Audience},
		state:       device.NewState(e.Identity.Epoch, statement.Hash{}),
	}
	if e.Plan != nil {
		m.adopt(e.Plan)
	}
	return m, nil
}

// clone is a second device with the same key and chain, as one whose card was
// copied.
func (m *member) clone() *member {
	return &member{n: m.n, kid: m.kid, name: m.name + "-clone", certificate: m.certificate, sealer: m.sealer,
		entry: m.entry, state: m.state, waiting: slices.Clone(m.waiting)}
}

func (m *member) unreceipted() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.waiting)
}

func (m *member) forked() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.alarm
}

// live keeps the device connected until connected ends, and publishes until
// publishing does.
func (m *member) live(connected, publishing context.Context, f *fleet, wait, phase time.Duration) {
	if !sleep(publishing, wait) {
		return
	}
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		m.stay(connected, f)
	}()
	defer func() { <-listening }()
	timer := time.NewTimer(phase)
	defer timer.Stop()
	chore := time.NewTicker(chores)
	defer chore.Stop()
	due := time.Now().Add(phase)
	for rests := false; ; {
		select {
		case <-connected.Done():
			return
		case now := <-chore.C:
			// One at a time: a gateway that is behind is not helped by hearing all twice.
			m.again(f, now.Add(-resend), 1)
			m.ping(now)
		case now := <-timer.C:
			if publishing.Err() != nil || rests {
				continue
			}
			if err := m.beat(f, now); err != nil {
				f.stats.failed(err)
			}
			if rests = m.has(f.c.Frames); rests {
				f.stats.rests()
			}
			// What could not be sent in time is not made up for: a device has one
			// sample at a time.
			for due = due.Add(f.c.Every); due.Before(now); due = due.Add(f.c.Every) {
				f.stats.add(func(c *Counts) { c.Late++ })
			}
			timer.Reset(time.Until(due))
		}
	}
}

// has says whether so many frames of this run were signed, or no more can be, as
// somebody else has the key; 0: never.
func (m *member) has(frames uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return frames > 0 && (m.sent >= frames || m.alarm && len(m.waiting) >= window)
}

// stay connects, listens, and connects again, until ctx ends.
func (m *member) stay(ctx context.Context, f *fleet) {
	pause := time.Second
	for ctx.Err() == nil {
		began := time.Now()
		if err := m.session(ctx, f); ctx.Err() == nil {
			f.stats.failed(err)
		}
		if time.Since(began) > maxPause {
			pause = time.Second
		}
		sleep(ctx, pause/2+jitter(pause))
		pause = min(2*pause, maxPause)
	}
}

// session is one connection, to its end.
func (m *member) session(ctx context.Context, f *fleet) error {
	conf := f.site.tls.Clone()
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &m.certificate, nil }
	l, err := dial(ctx, f.site.broker, conf, m.name, statement.TopicDown(f.site.tenant, m.kid))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	m.set(l)
	f.stats.connected(1)
	defer f.stats.connected(-1)
	defer m.set(nil)
	m.again(f, time.Now(), window)
	for {
		data, err := l.message()
		if err != nil {
			return fmt.Errorf("connection lost: %w", err)
		}
		if err := m.down(f, data); err != nil {
			f.stats.failed(err)
		}
	}
}

func (m *member) set(l *link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.link = l
}

// ping keeps the connection from being taken for dead. An error is told where the
// connection is read.
func (m *member) ping(now time.Time) {
	m.mu.Lock()
	l := m.link
	due := now.Sub(m.pinged) >= keepAlive/2
	if due {
		m.pinged = now
	}
	m.mu.Unlock()
	if l != nil && due {
		_ = l.ping()
	}
}

// beat seals the next frame and sends it.
func (m *member) beat(f *fleet, now time.Time) error {
	l, messages, err := m.seal(f, now)
	for _, up := range messages {
		err = errors.Join(err, l.publish(statement.TopicUp(f.site.tenant, m.kid), up))
	}
	return err
}

// seal makes what a device sends at a moment: the next frame, and of a rogue
// something else before it. Nobody writes to the network with m.mu held: what comes
// from there needs it.
func (m *member) seal(f *fleet, now time.Time) (l *link, messages [][]byte, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.link == nil {
		return nil, nil, nil // light devices do not sample while they are off line
	}
	if len(m.waiting) >= window {
		f.stats.add(func(c *Counts) { c.Stalled++ })
		return nil, nil, nil
	}
	in := m.input(f, now)
	if m.rogue && m.sent > 0 {
		up, err := m.misbehave(f, in)
		if err != nil {
			return nil, nil, err
		}
		messages = append(messages, up)
	}
	s, err := m.sealer.Seal(m.state, in)
	if err != nil {
		return nil, nil, err
	}
	m.state = s.Next
	m.sent++
	m.waiting = append(m.waiting, frame{seq: s.Next.Next - 1, id: s.Statement.ID(), entry: s.Statement.Entry(), up: s.Up, first: now, again: now})
	f.stats.add(func(c *Counts) { c.Frames++; c.Readings += uint64(len(in.Readings[0].Times)) })
	return m.link, append(messages, s.Up), nil
}

// input is what the device measured since its last frame. The caller holds m.mu.
func (m *member) input(f *fleet, now time.Time) device.Input {
	to := now.UnixMilli()
	from := to - f.c.Every.Milliseconds()
	if c, ok := m.state.Channel(channel); ok {
		from = max(from, c.Last)
	}
	n := max(1, min(int64(f.c.Readings), to-from))
	r := device.ChannelReadings{Channel: channel}
	air := int64(f.climate.At(time.Duration(to) * time.Millisecond).Air)
	for i := range n {
		at := from + max(1, (to-from)*(i+1)/n)
		r.Times = append(r.Times, at)
		r.Values = append(r.Values, air+int64(m.n%21-10)*50+(at*int64(m.n+7))%61-30) // a corner of the room, and noise
	}
	last := r.Times[len(r.Times)-1]
	in := device.Input{Readings: []device.ChannelReadings{r}, Plan: m.state.Plan,
		Clock: statement.Clock{BootID: f.boot.id, BootCount: f.boot.count, Boottime: time.Since(f.stats.began).Nanoseconds(),
			Wall: max(to, last), Quality: statement.ClockSynchronised}}
	if m.entry != nil {
		in.Entries = func(string) *statement.Channel { return m.entry }
	}
	return in
}

// misbehave makes what the gateway must refuse, or answer as before: a frame with
// a wrong signature, one that does not continue the chain, and one from before.
// The caller holds m.mu.
func (m *member) misbehave(f *fleet, in device.Input) ([]byte, error) {
	st, kind := m.state, m.sent%3
	if kind == 2 && m.last != nil {
		f.stats.add(func(c *Counts) { c.Replayed++ })
		return m.last, nil
	}
	if kind == 1 {
		st.Prev[0] ^= 1
	}
	s, err := m.sealer.Seal(st, in)
	if err != nil {
		return nil, err
	}
	if m.bad == nil || len(m.bad) >= maxBad {
		m.bad = map[statement.Hash]struct{}{}
	}
	m.bad[s.Statement.ID()] = struct{}{}
	if kind == 1 {
		f.stats.add(func(c *Counts) { c.WrongPrev++ })
		return s.Up, nil
	}
	flipped := bytes.Clone(s.Statement.Signature)
	flipped[len(flipped)/2] ^= 1
	f.stats.add(func(c *Counts) { c.BadSignature++ })
	return bytes.Replace(s.Up, s.Statement.Signature, flipped, 1), nil
}

// again sends up to so many frames once more that were sent before a moment, oldest
// first. An error is told where the connection is read.
func (m *member) again(f *fleet, before time.Time, most int) {
	m.mu.Lock()
	l, now := m.link, time.Now()
	var ups [][]byte
	for i := range min(len(m.waiting), most) {
		w := &m.waiting[i]
		if l == nil || w.again.After(before) {
			break
		}
		w.again = now
		ups = append(ups, w.up)
	}
	m.mu.Unlock()
	for _, up := range ups {
		f.stats.add(func(c *Counts) { c.Resent++ })
		if l.publish(statement.TopicUp(f.site.tenant, m.kid), up) != nil {
			return
		}
	}
}

// cosign answers as a witness. A light device forgets what it cosigned when it is
// started anew: it is good for load, not for trust.
func (m *member) cosign(f *fleet, d *statement.Cosign) error {
	cp, err := f.notes.get(d.Checkpoint)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	m.mu.Lock()
	l := m.link
	err = m.extend(cp, d.Consistency)
	newest := m.state.Checked
	m.mu.Unlock()
	if err != nil || l == nil || newest.Size != cp.Size || newest.Root != cp.Root {
		return err
	}
	line, err := m.sealer.Signer.Cosign(cp, time.Now().Unix())
	if err != nil {
		return err
	}
	msg, err := statement.EncodeCosigned(newest.Origin, newest.Size, line)
	if err != nil {
		return err
	}
	return l.publish(statement.TopicUp(f.site.tenant, m.kid), msg)
}

// Reasons why a message from the gateway has no effect.
var (
	errNoProof = errors.New("checkpoint: no proof from the one that was verified last")
	errForeign = errors.New("receipt names a statement that is not ours")
	errBad     = errors.New("receipt for a statement that had to be refused")
)

// down takes one message from the gateway. Final blocks are no affair of a light
// device.
func (m *member) down(f *fleet, data []byte) error {
	d, err := statement.ParseDown(data)
	if err != nil {
		return fmt.Errorf("message: %w", err)
	}
	switch d := d.(type) {
	case *statement.Receipts:
		cp, err := f.notes.get(d.Checkpoint)
		if err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if err := m.extend(cp, d.Consistency); err != nil {
			return err
		}
		var errs []error
		for _, i := range d.Included {
			errs = append(errs, m.included(f, cp, i))
		}
		return errors.Join(errs...)
	case *statement.Cosign:
		return m.cosign(f, d)
	case *statement.PlanDown:
		p, err := f.plans.get(data)
		if err != nil {
			return fmt.Errorf("plan: %w", err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.adopt(p)
	case *statement.Resend:
		m.again(f, time.Now(), window)
	}
	return nil
}
