// Package anchoring decides when the ledger's signed checkpoints go to a chain,
// keeps record of which ones did, and finds out after any failure.
//
// A [Runner] anchors the newest checkpoint of one origin every so often. Its
// rules:
//
//   - Truth is the chain's state by (origin, size), never the fate of one
//     submission: after any error, a time-out above all, the chain is asked
//     before anything is sent again.
//   - What is not final is not anchored: a chain that takes its time says so by
//     [Pending], which is no failure. An anchor that a chain has no more is an
//     alarm; the newest checkpoint is then anchored again.
//   - Checkpoints are cumulative. A newer one takes the place of one that could
//     not be anchored; nothing is queued.
//   - One submission at a time, and the next only after the last anchor is
//     recorded. So a crash leaves at most one anchor that is on the chain and
//     not recorded: the chain's head, which is recorded first on the next start.
//
// [Guard] keeps a ledger that was restored from an old backup from signing a
// second history: what is anchored must be a prefix of what the ledger holds.
package anchoring

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/transparency-dev/formats/log"
)

// An Anchor is a checkpoint that a chain has taken, and where to find it.
type Anchor struct {
	ChainID   string
	Origin    string
	Size      uint64
	Root      [32]byte
	Height    int64     // of the block
	Time      time.Time // when the block became final, UTC; the anchor is not younger
	BlockHash [32]byte
	Tx        []byte // as the chain stores it
}

// Description says what a chain is worth to a reader.
type Description struct {
	ChainID    string
	Kind       string // "cometbft", ...
	Validators int    // that vote; 0 if unknown
	Quorum     int    // how many of them decide; 0 if unknown
}

// String names the chain and who has to agree: "trailmark-1 (cometbft, 1 of 1)".
func (d Description) String() string {
	if d.Validators == 0 {
		return fmt.Sprintf("%s (%s)", d.ChainID, d.Kind)
	}
	return fmt.Sprintf("%s (%s, %d of %d)", d.ChainID, d.Kind, d.Quorum, d.Validators)
}

// OwnWord reports whether one party alone decides, so that an anchor is the
// operator's word and no more.
func (d Description) OwnWord() bool { return d.Validators == 1 }

// A Chain keeps, per origin, the newest checkpoint and those before it, refuses
// a smaller size and, at an equal size, another root. Safe for concurrent use.
type Chain interface {
	Describe() Description

	// Submit anchors a signed checkpoint and returns when that is final: no
	// crash of this process takes it back. A checkpoint that is anchored already
	// is no error. An error wraps ErrRefused if the chain's rules forbid it, and
	// says nothing about the outcome otherwise.
	Submit(ctx context.Context, checkpoint []byte) (Anchor, error)

	// Head returns the newest final anchor of origin; false if there is none.
	Head(ctx context.Context, origin string) (Anchor, bool, error)
}

// Pending is Submit's error while a checkpoint is on its way: no failure, and not
// an anchor yet. Submitting it, or a newer one, goes on with it.
type Pending struct{ State string }

func (p *Pending) Error() string { return "on its way: " + p.State }

var (
	// ErrRefused is wrapped by Submit's errors that trying again does not cure.
	ErrRefused = errors.New("refused by the chain's rules")

	// ErrBehind is wrapped by Guard when the chain knows a larger ledger.
	ErrBehind = errors.New("ledger is behind its anchor")

	// ErrFork is wrapped by Guard when the chain knows another history.
	ErrFork = errors.New("ledger contradicts its anchor")
)

const backupHint = "hint: was the ledger restored from an old backup? Do not sign with it: " +
	"restore a newer one, or let the devices send again what they still hold"

// Guard compares the ledger with the newest anchored checkpoint of origin. It is
// called before a checkpoint of size entries and the given root is signed, at
// the latest before the first one after a start. The error wraps ErrBehind or
// ErrFork, or is the chain's. It cannot see a fork at a size other than the
// ledger's own; GuardTree can.
func Guard(ctx context.Context, c Chain, origin string, size uint64, root [32]byte) error {
	return GuardTree(ctx, c, origin, size, func(_ context.Context, anchored uint64) ([32]byte, bool, error) {
		return root, anchored == size, nil
	})
}

// GuardTree is Guard for a ledger that can tell the root it had at any size up
// to its own, so that one which was rolled back and has grown past the anchor
// again is found out too. rootAt returns false if it cannot tell.
func GuardTree(ctx context.Context, c Chain, origin string, size uint64,
	rootAt func(ctx context.Context, size uint64) ([32]byte, bool, error)) error {
	head, ok, err := c.Head(ctx, origin)
	if err != nil {
		return fmt.Errorf("newest anchor of %q on %s: %w", origin, c.Describe(), err)
	}
	if !ok {
		return nil
	}
	return guard(ctx, c, head, size, rootAt)
}

func guard(ctx context.Context, c Chain, head Anchor, size uint64,
	rootAt func(ctx context.Context, size uint64) ([32]byte, bool, error)) error {
	if size < head.Size {
		return fmt.Errorf("%w: size %d < %d, anchored in block %d of %s at %s\n%s",
			ErrBehind, size, head.Size, head.Height, c.Describe(), head.Time.Format(time.RFC3339), backupHint)
	}
	root, known, err := rootAt(ctx, head.Size)
	if err != nil {
		return fmt.Errorf("root of %q at size %d: %w", head.Origin, head.Size, err)
	}
	if known && root != head.Root {
		return fmt.Errorf("%w: root %x at size %d, anchored in block %d of %s at %s is %x\n%s",
			ErrFork, root, head.Size, head.Height, c.Describe(), head.Time.Format(time.RFC3339), head.Root, backupHint)
	}
	return nil
}

// parse reads size and root of a signed checkpoint of origin, whose signature
// the chain and the verifiers check.
func parse(origin string, checkpoint []byte) (size uint64, root [32]byte, err error) {
	of, size, root, err := read(checkpoint)
	if err == nil && of != origin {
		return 0, root, fmt.Errorf("checkpoint of %q, want %q", of, origin)
	}
	return size, root, err
}

func read(checkpoint []byte) (origin string, size uint64, root [32]byte, err error) {
	var c log.Checkpoint
	if _, err := c.Unmarshal(checkpoint); err != nil {
		return "", 0, root, err
	}
	if len(c.Hash) != len(root) {
		return "", 0, root, fmt.Errorf("checkpoint of %q with a root of %d bytes, want %d", c.Origin, len(c.Hash), len(root))
	}
	return c.Origin, c.Size, [32]byte(c.Hash), nil
}
