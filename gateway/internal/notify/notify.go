// Package notify sends notices of alarms from the store's queue to targets:
// webhooks, mail, and the robots of WeCom, DingTalk and Feishu.
//
// A notice is sent at least once, under one idempotency key with every attempt: a
// crash between an answer and its commit sends it again. A target that fails is tried
// again later and later; one that refuses for good, or fails too often in a row, is
// parked: its notices wait, and people are shown why. Whatever name a target's
// address has, the guard judges the address that is really dialled. Secrets, of
// which the robots' addresses are a kind, are in no log and no error.
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"trailmark/gateway/internal/store"
)

const (
	round      = 64               // notices a round
	parkAfter  = 12               // failures in a row: after about three hours
	firstPause = 5 * time.Second  // of the target after one failure; doubled with each further one
	longPause  = time.Hour        // at most
	attempt    = 20 * time.Second // for one attempt
)

// A Refusal is a target's answer that another attempt would get again.
type Refusal struct{ msg string }

func (r *Refusal) Error() string { return r.msg }

// A Later is a target's wish to be left alone for a while.
type Later struct {
	msg string
	For time.Duration
}

func (l *Later) Error() string { return l.msg }

// A Sender empties the queue. Run is for one goroutine.
type Sender struct {
	store   *store.Store
	targets func() (*Targets, error) // the targets as they are now
	now     func() time.Time
	log     *slog.Logger
}

// New makes a sender over the store's queue. The function is asked for the targets
// in each round.
func New(st *store.Store, targets func() (*Targets, error), now func() time.Time, log *slog.Logger) *Sender {
	return &Sender{store: st, targets: targets, now: now, log: log}
}

// Run sends until ctx ends. It returns an error when the store fails.
func (s *Sender) Run(ctx context.Context) error {
	for {
		n, err := s.Round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("notices: %w", err)
		}
		if n > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// Round tries what is due once, and reports how many notices it sent.
func (s *Sender) Round(ctx context.Context) (sent int, err error) {
	due, err := s.store.DueNotices(ctx, s.now().UnixMilli(), round)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	targets, err := s.targets()
	if err != nil {
		s.log.Error("targets of alarms cannot be read; nobody is told", "err", err)
		return 0, nil
	}
	queue := map[string][]store.Notice{}
	var order []string
	for _, n := range due {
		if queue[n.Target] == nil {
			order = append(order, n.Target)
		}
		queue[n.Target] = append(queue[n.Target], n)
	}
	counts := make([]int, len(order))
	var g errgroup.Group
	g.SetLimit(8)
	for i, id := range order {
		g.Go(func() error {
			for _, n := range queue[id] {
				done, err := s.one(ctx, targets, n)
				if err != nil {
					return err
				}
				if !done {
					return nil // the rest would fare the same
				}
				counts[i]++
			}
			return nil
		})
	}
	err = g.Wait()
	for _, n := range counts {
		sent += n
	}
	return sent, err
}

// one tries one notice and stores what became of it. It reports whether the next
// one of the target may be tried; an error is the store's.
func (s *Sender) one(ctx context.Context, targets *Targets, n store.Notice) (bool, error) {
	switch over, wait, err := s.stale(ctx, n); {
	case err != nil:
		return false, err
	case over:
		n.Done = store.NoticeCancelled
		return true, s.store.Update(ctx, func(tx *store.Tx) error { return tx.PutNotice(n) })
	case wait > 0:
		n.Due = wait
		return true, s.store.Update(ctx, func(tx *store.Tx) error { return tx.PutNotice(n) })
	}
	var m Message
	failure := json.Unmarshal(n.Data, &m)
	if failure == nil {
		m.What = n.What
		within, cancel := context.WithTimeout(ctx, attempt)
		failure = targets.send(within, n.Target, n.ID, m, s.now())
		cancel()
	}
	if ctx.Err() != nil {
		return false, nil
	}
	n.Attempts++
	n.At = s.now().UnixMilli()
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		t, err := tx.TargetState(n.Target)
		if err != nil {
			return err
		}
		if failure == nil {
			n.Done, n.Error = store.NoticeSent, ""
			t.Failures, t.Retry, t.Parked, t.Error = 0, 0, 0, ""
		} else {
			n.Error = clip(failure.Error(), 512)
			t.Failures, t.Error = t.Failures+1, n.Error
			t.Retry = n.At + pause(t.Failures, failure).Milliseconds()
			var refusal *Refusal
			if errors.As(failure, &refusal) || t.Failures >= parkAfter {
				t.Parked = n.At
				s.log.Error("target of alarms is parked; its notices wait", "target", n.Target, "failures", t.Failures, "err", n.Error)
			} else {
				s.log.Warn("notice not sent; it will be tried again", "target", n.Target, "attempts", n.Attempts, "err", n.Error)
			}
		}
		return errors.Join(tx.PutNotice(n), tx.PutTargetState(t))
	})
	return failure == nil, err
}

// Resume lets a parked target go on: its notices are due at once. When it returns
// nil this is durable.
func Resume(ctx context.Context, st *store.Store, target string) error {
	return st.Update(ctx, func(tx *store.Tx) error {
		states, err := st.TargetStates(ctx)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(states, func(t store.TargetState) bool { return t.ID == target })
		if i < 0 {
			return fmt.Errorf("target %q: %w", target, store.ErrNotFound)
		}
		t := states[i]
		t.Failures, t.Retry, t.Parked, t.Error = 0, 0, 0, ""
		return tx.PutTargetState(t)
	})
}

// stale reports that a notice is no news any more, or that another has to go out
// before it, at a time.
func (s *Sender) stale(ctx context.Context, n store.Notice) (over bool, wait int64, err error) {
	switch n.What {
	case store.NoticeEscalation:
		a, err := s.store.Alarm(ctx, n.Alarm)
		return err == nil && (a.Acked != 0 || a.Closed), 0, err
	case store.NoticeEnd:
		of, err := s.store.Notices(ctx, n.Alarm)
		if err != nil {
			return false, 0, err
		}
		i := slices.IndexFunc(of, func(m store.Notice) bool {
			return m.What == store.NoticeStart && m.Target == n.Target && m.Done == ""
		})
		if i >= 0 {
			return false, of[i].Due + 1, nil
		}
	}
	return false, 0, nil
}

// pause is how long to leave a target alone, a quarter of it by chance, so that
// many do not come back at once.
func pause(failures int, failure error) time.Duration {
	var later *Later
	if errors.As(failure, &later) && later.For > 0 {
		return min(later.For, longPause)
	}
	d := min(longPause, firstPause<<min(failures-1, 12))
	return d - time.Duration(rand.Int64N(int64(d/4)))
}
