// Package ingest turns messages from devices into verified statements in the
// store, in each device's own order.
//
// A message is refused, counted and without any effect, unless its statement is
// signed by a device that the authority vouches for, continues that device's
// chain, brings exactly the records it signs, and extends each trace by exactly
// its block. A frame that arrives before its predecessor waits in the store; a
// second statement for one seq is kept as evidence of a fork.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"trailmark/gateway/internal/store"
	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// A Message is one up message with the key id of the topic it came on.
type Message struct {
	KeyID statement.Hash
	Data  []byte
}

// An Outcome is what became of one message.
type Outcome struct {
	KeyID statement.Hash
	Err   error // a *Refusal, or nil
	// Receipts are the ledger indexes to send receipts for: of the frames that
	// this message put in the store, or of the one it repeats.
	Receipts []uint64
	// ResendFrom asks the device for this seq of Epoch when it is missing.
	ResendFrom *uint64
	Epoch      uint64
	Plan       *statement.Hash // that a new frame works by
	// Verify and Store say when that was done; Store is zero for what was refused
	// before.
	Verify, Store Took
}

// Took is a span of time.
type Took struct{ From, To time.Time }

// Ingest is the gate between devices and the store. Handle is called by one
// goroutine.
type Ingest struct {
	store *store.Store
	log   *slog.Logger
	now   func() time.Time

	Counters Counters

	adding sync.Mutex // held during Add: what is learned later is stored later

	mu      sync.RWMutex // guards ring, plan and revoked, which Add changes
	ring    *statement.Keyring
	plan    map[statement.Hash]sitePlan // by statement id
	revoked map[statement.Hash]statement.Revoked

	// devices belongs to the goroutine that calls Handle. An entry is dropped when
	// a transaction that changed it fails.
	devices map[statement.Hash]*stream
}

// sitePlan is a plan and who signed it.
type sitePlan struct {
	*statement.Plan
	site string
}

// New makes an Ingest over what the store holds. Identities, plans and key
// statuses found there are verified again: the store is not trusted.
func New(ctx context.Context, st *store.Store, ring *statement.Keyring, now func() time.Time, log *slog.Logger) (*Ingest, error) {
	in := &Ingest{store: st, log: log, now: now, ring: ring, plan: map[statement.Hash]sitePlan{},
		revoked: map[statement.Hash]statement.Revoked{}, devices: map[statement.Hash]*stream{}}
	for _, kind := range []statement.Kind{statement.KindIdentity, statement.KindPlan, statement.KindKeyStatus} {
		rows, err := st.Kind(ctx, kind)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			s, err := statement.Parse(row.Data)
			if err == nil {
				err = in.learn(s)
			}
			if err != nil {
				return nil, fmt.Errorf("stored statement %d: %w", row.Index, err)
			}
		}
	}
	return in, nil
}

// learn verifies a statement that is not a frame and takes in what later checks
// rest on.
func (in *Ingest) learn(s *statement.Statement) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if s.Header.Kind == statement.KindIdentity {
		_, err := in.ring.Add(s)
		return err
	}
	if _, err := in.ring.Verify(s); err != nil {
		return err
	}
	switch s.Header.Kind {
	case statement.KindPlan:
		p, err := s.Plan()
		if err != nil {
			return err
		}
		in.plan[s.ID()] = sitePlan{p, s.Header.Issuer}
	case statement.KindProduct:
		_, err := s.Product()
		return err
	case statement.KindKeyStatus:
		k, err := s.KeyStatus()
		if err != nil {
			return err
		}
		return in.revoke(k)
	case statement.KindHandover:
		_, err := s.Handover()
		return err
	case statement.KindAcceptance:
		_, err := s.Acceptance()
		return err
	case statement.KindEvent:
		e, err := s.Event()
		if err == nil && e.Version != 1 {
			return errors.New("an event of version 2 comes with its document\nhint: gateway event --file FILE")
		}
		return err
	case statement.KindErasure:
		_, err := s.Erasure()
		return err
	default:
		return fmt.Errorf("statement of kind %s does not come this way", s.Header.Kind)
	}
	return nil
}

// Add verifies and stores statements that are not frames, in order. When it
// returns nil they are durable, and what an erasure among them names is no longer
// held. One that is stored already stays as it is.
func (in *Ingest) Add(ctx context.Context, statements ...*statement.Statement) error {
	in.adding.Lock()
	defer in.adding.Unlock()
	for _, s := range statements {
		if s.Header.Kind == statement.KindFrame {
			return errors.New("a frame comes from its device only")
		}
		if err := in.learn(s); err != nil {
			return err
		}
	}
	return in.store.Update(ctx, func(tx *store.Tx) error {
		for _, s := range statements {
			known, err := tx.Has(s.ID())
			if err != nil || known {
				if err != nil {
					return err
				}
				continue
			}
			next, err := tx.Next()
			if err != nil {
				return err
			}
			if err := tx.AddStatement(store.Statement{Index: next, ID: s.ID(), Kind: s.Header.Kind,
				KeyID: s.Header.KeyID, Received: in.now().UnixMilli(), Data: s.Bytes()}); err != nil {
				return err
			}
			switch s.Header.Kind {
			case statement.KindErasure:
				err = in.erase(tx, s)
			case statement.KindHandover, statement.KindAcceptance:
				err = transfer(tx, next, s)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Identity is what the authority said of a key.
func (in *Ingest) Identity(kid statement.Hash) (*statement.Identity, bool) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	return in.ring.Identity(kid)
}

// Plan is a known plan by its statement id.
func (in *Ingest) Plan(id statement.Hash) (*statement.Plan, bool) {
	in.mu.RLock()
	defer in.mu.RUnlock()
	p, ok := in.plan[id]
	return p.Plan, ok
}

// Handle verifies and stores a batch of messages in one transaction. When it
// returns nil, every accepted and waiting frame is durable and every outcome
// final; on an error nothing was stored and the batch may be given again.
func (in *Ingest) Handle(ctx context.Context, batch []Message) ([]Outcome, error) {
	checked := make([]checked, len(batch))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0)) // signatures are the cost, and need no order
	for i, m := range batch {
		g.Go(func() error {
			began := time.Now()
			checked[i] = in.check(m)
			checked[i].took = Took{began, time.Now()}
			return nil
		})
	}
	_ = g.Wait() // what was wrong with a message stands in its place of checked

	out := make([]Outcome, len(batch))
	touched := map[statement.Hash]bool{}
	var waited *batchTx
	began := time.Now()
	err := in.store.Update(ctx, func(tx *store.Tx) error {
		next, err := tx.Next()
		if err != nil {
			return err
		}
		b := &batchTx{in: in, tx: tx, next: next, now: in.now().UnixMilli()}
		waited = b
		for i := range checked {
			c := &checked[i]
			out[i].KeyID = batch[i].KeyID
			if c.err != nil {
				out[i].Err = c.err
				continue
			}
			touched[batch[i].KeyID] = true
			if err := b.handle(ctx, c, &out[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for kid := range touched {
			delete(in.devices, kid) // reload what the transaction did not keep
		}
		return nil, err
	}
	stored := Took{began, time.Now()}
	for i := range out {
		if out[i].Verify = checked[i].took; checked[i].err == nil {
			out[i].Store = stored
		}
		switch {
		case out[i].Err != nil:
			in.Counters.refused(out[i].Err)
			level := slog.LevelWarn
			if r := (*Refusal)(nil); errors.As(out[i].Err, &r) && r.Reason == Fork {
				level = slog.LevelError // a clone, or a key in other hands: somebody has to look
			}
			in.log.Log(ctx, level, "message refused", "device", batch[i].KeyID.String()[:16], "err", out[i].Err)
		case checked[i].repeated:
			in.Counters.add("repeated")
		case checked[i].waiting:
			in.Counters.add("waiting")
		default:
			in.Counters.add("accepted")
			if checked[i].late {
				in.Counters.add("late")
			}
		}
	}
	in.Counters.count("accepted", waited.accepted)
	in.Counters.count("late", waited.late)
	return out, nil
}

// checked is a message after every check that needs no order.
type checked struct {
	d                 *statement.Delivery
	identity          *statement.Identity
	bodies            []any
	up                []byte
	err               error
	repeated, waiting bool
	late              bool // received long after its end
	took              Took
}

func (in *Ingest) check(m Message) (c checked) {
	c.up = m.Data
	if len(m.Data) > statement.MaxSize {
		c.err = refusef(TooLarge, "message of %d bytes is over the limit of %d", len(m.Data), statement.MaxSize)
		return
	}
	d, err := statement.ParseUp(m.Data)
	if errors.Is(err, statement.ErrRecords) || errors.Is(err, statement.ErrOrder) {
		c.err = refuse(BadRecords, err)
		return
	} else if err != nil {
		c.err = refuse(Malformed, err)
		return
	}
	if d.Statement.Header.KeyID != m.KeyID {
		c.err = refusef(WrongTopic, "statement of key %.8s… on the topic of %.8s…", d.Statement.Header.KeyID, m.KeyID)
		return
	}
	in.mu.RLock()
	c.identity, err = in.ring.Verify(d.Statement)
	in.mu.RUnlock()
	switch {
	case errors.Is(err, statement.ErrUntrusted), errors.Is(err, statement.ErrRole):
		c.err = refuse(Unknown, err)
		return
	case errors.Is(err, statement.ErrEpoch):
		c.err = refuse(WrongEpoch, err)
		return
	case err != nil:
		c.err = refuse(BadSignature, err)
		return
	}
	if r, revoked := in.Revoked(m.KeyID); revoked && (c.identity.Epoch > r.Epoch || c.identity.Epoch == r.Epoch && d.Frame.Seq >= r.Seq) {
		c.err = refusef(Revoked, "seq %d of a key that is revoked from seq %d of epoch %d on", d.Frame.Seq, r.Seq, r.Epoch)
		return
	}
	if c.bodies, err = decodeBodies(d); err != nil {
		c.err = refuse(BadRecords, err)
		return
	}
	c.d = d
	return
}

// decodeBodies decodes a frame's records, whose order ParseUp has checked, and
// checks that the frame's span holds them.
func decodeBodies(d *statement.Delivery) ([]any, error) {
	out := make([]any, len(d.Bodies))
	span := d.Frame.Span
	for i, b := range d.Bodies {
		v, err := b.Decode()
		if err != nil {
			return nil, err
		}
		from, to := span[0], span[1]
		switch v := v.(type) {
		case *statement.Block:
			times := v.Times()
			from, to = times[0], times[len(times)-1]
		case *statement.Sighting:
			from, to = v.First, v.Last
		case *statement.Happening:
			from, to = v.At, v.At
		}
		if from < span[0] || to > span[1] {
			return nil, fmt.Errorf("record %d spans [%d, %d] ms outside the frame's %v", i, from, to, span)
		}
		out[i] = v
	}
	return out, nil
}

// extra encodes what a frame's records are made from.
func extra(d *statement.Delivery) []byte {
	x := store.Extra{Seed: d.Seed}
	for _, b := range d.Bodies {
		x.Bodies = append(x.Bodies, statement.WireBody{Kind: b.Kind, Body: b.Data})
	}
	return dcbor.MustMarshal(x)
}
