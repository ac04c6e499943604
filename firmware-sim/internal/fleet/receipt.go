package fleet

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"trailmark/internal/device"
	"trailmark/statement"
)

// verified remembers what was verified, by the hash of its bytes: the gateway tells
// the same checkpoint and the same plan to thousands of devices.
type verified[T any] struct {
	open func(data []byte) (T, error)

	mu   sync.Mutex
	seen map[statement.Hash]T // guarded by mu
}

// maxVerified bounds what is remembered of a kind.
const maxVerified = 64

func (v *verified[T]) get(data []byte) (T, error) {
	h := statement.Hash(sha256.Sum256(data))
	v.mu.Lock()
	t, ok := v.seen[h]
	v.mu.Unlock()
	if ok {
		return t, nil
	}
	t, err := v.open(data)
	if err != nil {
		return t, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.seen) >= maxVerified || v.seen == nil {
		v.seen = map[statement.Hash]T{}
	}
	v.seen[h] = t
	return t, nil
}

// adopt puts a plan in force from the next frame, if it is newer than the one that
// is. The caller holds m.mu.
func (m *member) adopt(p *device.Plan) {
	if !m.state.Plan.IsZero() && p.Seq <= m.state.PlanSeq {
		return
	}
	m.state.Plan, m.state.PlanSeq = p.ID, p.Seq
	// Of the plan only our own entry is kept: with all of it in each of thousands of
	// devices, memory would grow by their square.
	m.entry = p.Entry(m.kid, channel)
}

// extend checks that the ledger of a signed checkpoint is the one verified last,
// grown. The caller holds m.mu.
func (m *member) extend(cp statement.Checkpoint, proofs []statement.Consistency) error {
	head := device.Checkpoint{Origin: statement.Hash(sha256.Sum256([]byte(cp.Origin))), Size: cp.Size, Root: cp.Root}
	last := m.state.Checked
	if slices.Contains(m.heads, head) || head == last {
		return nil
	}
	if last.Size > 0 && last.Origin != head.Origin {
		if _, earlier := statement.OriginOf(cp.Origin, last.Origin); earlier {
			return nil // frames that an earlier ledger holds count; nothing moves
		}
		last = device.Checkpoint{} // a later ledger begins at nothing
	}
	if cp.Size <= last.Size {
		return fmt.Errorf("%w: %d entries, verified are %d", errNoProof, cp.Size, last.Size)
	}
	for _, p := range proofs {
		if p.OldSize != last.Size {
			continue
		}
		if err := statement.VerifyConsistency(last.Size, cp.Size, last.Root, cp.Root, p.Path); err != nil {
			return fmt.Errorf("checkpoint of %d entries does not extend the one of %d: %w", cp.Size, last.Size, err)
		}
		m.state.Checked = head
		if m.heads = append(m.heads, head); len(m.heads) > keptHeads {
			m.heads = slices.Clone(m.heads[1:])
		}
		return nil
	}
	return fmt.Errorf("%w: %d entries, verified are %d", errNoProof, cp.Size, last.Size)
}

// included takes one receipt under a verified checkpoint. The caller holds m.mu.
func (m *member) included(f *fleet, cp statement.Checkpoint, i statement.Included) error {
	if _, bad := m.bad[i.ID]; bad {
		f.stats.add(func(c *Counts) { c.BadReceipted++ })
		return fmt.Errorf("device %d frame %d: %w", m.n, i.Seq, errBad)
	}
	at := slices.IndexFunc(m.waiting, func(w frame) bool { return w.seq == i.Seq })
	if at < 0 {
		if i.Seq < m.state.Next {
			return nil // it has its receipt
		}
	} else if w := m.waiting[at]; w.id == i.ID {
		if err := statement.VerifyInclusion(w.entry[:], i.Index, cp.Size, cp.Root, i.Path); err != nil {
			return fmt.Errorf("device %d frame %d: receipt does not lead to the root: %w", m.n, i.Seq, err)
		}
		m.waiting = slices.Delete(m.waiting, at, at+1)
		m.state.Receipted = m.state.Next
		if len(m.waiting) > 0 {
			m.state.Receipted = m.waiting[0].seq
		}
		if m.rogue {
			m.last = bytes.Clone(w.up)
		}
		f.stats.receipted(w.first, time.Now())
		return nil
	}
	m.alarm, m.state.Alarm = true, true
	f.stats.add(func(c *Counts) { c.Foreign++ })
	return fmt.Errorf("device %d frame %d: %w", m.n, i.Seq, errForeign)
}
