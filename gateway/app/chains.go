package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"trailmark/gateway/internal/anchoring"
	"trailmark/gateway/internal/api"
	"trailmark/gateway/internal/shard"
	"trailmark/gateway/internal/store"
	"trailmark/internal/chain/evm"
	"trailmark/internal/dcbor"
	"trailmark/passport"
	"trailmark/statement"
)

// otherChain is a chain beside the embedded one.
type otherChain struct {
	name    string // CAIP-2
	target  evm.Target
	client  *evm.Client
	sub     *evm.Submitter
	chain   *anchoring.EVM
	runner  atomic.Pointer[anchoring.Runner] // of the ledger that is being anchored there
	unready map[uint64]int                   // how often a size could not be proven; its runner's goroutine owns it
}

const (
	guardWithin    = 10 * time.Second
	evidenceWithin = 30 * time.Second
	evidenceTries  = 3
	rollEvery      = 5 * time.Second // between two looks whether a half-year is over
)

// ChainsConfig is what `gateway run` is told of chains beside the embedded one.
type ChainsConfig struct {
	URLs        []string // evm+https://rpc,…#0xcontract,chain=…
	Keys        []string // keystore files or external signers, one for each chain or one for all
	Passphrases []string // files; likewise
	Every       time.Duration
	Prefer      string // CAIP-2 name of the chain that passports are anchored on; "": the embedded
}

// openChains makes a submitter and a runner for each chain. A chain that does not
// answer is told of and does not keep the gateway from its work.
func (g *gateway) openChains(ctx context.Context, own string) error {
	c := g.conf.Chains
	if len(c.URLs) == 0 && len(c.Keys)+len(c.Passphrases) > 0 {
		return errors.New("a key for a chain, but no --chain")
	}
	preferred := c.Prefer == ""
	for i, url := range c.URLs {
		key, ok := nth(c.Keys, i, len(c.URLs))
		if !ok || key == "" {
			return fmt.Errorf("%d keys for %d chains\nhint: --chain-key once for all, or once for each --chain", len(c.Keys), len(c.URLs))
		}
		pass, ok := nth(c.Passphrases, i, len(c.URLs))
		if !ok {
			return fmt.Errorf("%d passphrase files for %d chains\nhint: --chain-passphrase once for all, or once for each --chain", len(c.Passphrases), len(c.URLs))
		}
		o, err := g.openChain(own, url, key, pass)
		if err != nil {
			return err
		}
		for _, other := range g.others {
			if other.name == o.name {
				return errors.Join(fmt.Errorf("chain %s is named twice\nhint: several endpoints of one chain are separated by commas", o.name), o.close())
			}
		}
		g.others = append(g.others, o)
		preferred = preferred || o.name == c.Prefer
		if err := g.guardOther(ctx, o); err != nil {
			return err
		}
	}
	if !preferred {
		return fmt.Errorf("passports are to be anchored on %q, which no --chain is\nhint: want eip155:<chain id>", c.Prefer)
	}
	return nil
}

func nth(values []string, i, of int) (string, bool) {
	switch len(values) {
	case 0:
		return "", true
	case 1:
		return values[0], true
	case of:
		return values[i], true
	}
	return "", false
}

func (g *gateway) openChain(own, url, key, pass string) (*otherChain, error) {
	target, err := evm.ParseTarget(url)
	if err != nil {
		return nil, fmt.Errorf("--chain: %w", err)
	}
	if target.ChainID == 0 || target.Contract == [20]byte{} {
		return nil, errors.New("--chain: want the contract and the chain's id after #, 0x…,chain=1\nhint: anchor deploy prints the whole line")
	}
	signer, err := evm.OpenSigner(key, pass)
	if err != nil {
		return nil, fmt.Errorf("--chain-key: %w", err)
	}
	o := &otherChain{name: evm.Name(target.ChainID), target: target, unready: map[uint64]int{}}
	if o.client, err = evm.Dial(target); err != nil {
		return nil, err
	}
	opt := evm.Options{Client: o.client, Signer: signer, Log: g.log, Lease: evm.LeaseOf(key, target),
		Dir: filepath.Join(own, "evm", fmt.Sprintf("%d-%s", target.ChainID, strings.ToLower(target.Contract.Hex())))}
	if o.sub, err = evm.NewSubmitter(opt); err != nil {
		o.client.Close()
		return nil, err
	}
	o.chain = anchoring.NewEVM(o.sub, target.ChainID)
	o.chain.Keep = func(ctx context.Context, note []byte) error { return g.keepNote(ctx, o, note) }
	return o, nil
}

func (o *otherChain) close() error {
	o.client.Close()
	return o.sub.Close()
}

// guardOther refuses ledgers that the chain knows better. While it does not answer
// the runner asks on, before each anchor.
func (g *gateway) guardOther(ctx context.Context, o *otherChain) error {
	ctx, cancel := context.WithTimeout(ctx, guardWithin)
	defer cancel()
	for _, b := range g.shelf.Books() {
		size, err := b.Ledger.Size(ctx)
		if err != nil {
			return err
		}
		err = anchoring.GuardTree(ctx, o.chain, b.Origin(), size, func(ctx context.Context, n uint64) ([32]byte, bool, error) {
			root, err := b.Root(ctx, n)
			return root, err == nil, err
		})
		if behind(err) {
			return err
		}
		if err != nil {
			g.log.Warn("chain is not compared with the ledger yet", "chain", o.name, "origin", b.Origin(), "err", err)
			return nil
		}
	}
	return nil
}

// startRunners makes the first runners, once everything that they tell is there.
func (g *gateway) startRunners(ctx context.Context) error {
	var names []string
	for _, o := range g.others {
		names = append(names, o.name)
		if _, err := g.nextOther(ctx, o, nil); err != nil {
			return err
		}
	}
	g.journey.Beside(g.conf.Chains.Prefer, names...)
	return nil
}

// nextOther makes the runner of the ledger whose turn it is on a chain, as
// nextRunner does on the embedded one.
func (g *gateway) nextOther(ctx context.Context, o *otherChain, ended func()) (shard.Book, error) {
	b := g.shelf.Current()
	var last store.Elsewhere
	for _, b = range g.shelf.Books() {
		var err error
		if last, err = g.store.LastElsewhere(ctx, o.name, b.Origin(), ^uint64(0)); err != nil && !errors.Is(err, store.ErrNotFound) {
			return b, err
		}
		if b.End == shard.Open || b.End > b.First && last.Size < b.End-b.First {
			break
		}
	}
	opt := anchoring.Options{Chain: o.chain, Origin: b.Origin(), Every: g.conf.Chains.Every, Log: g.log,
		Newest: func(ctx context.Context) ([]byte, error) {
			size, err := b.Ledger.Size(ctx)
			if err != nil || size == 0 {
				return nil, err
			}
			return b.Checkpoint(ctx)
		},
		Cosign: func(ctx context.Context, note []byte) []byte { return g.witnesses.Collect(ctx, b.Origin(), note) },
		Record: func(ctx context.Context, a anchoring.Anchor) error {
			if err := g.recordOther(ctx, o, b, a); err != nil {
				return err
			}
			if b.End != shard.Open && a.Size >= b.End-b.First {
				ended()
			}
			return nil
		},
		Lost: func(ctx context.Context, a anchoring.Anchor) error { return g.lostOther(ctx, o, a) }}
	if last.Size > 0 {
		opt.Recorded = anchoring.Anchor{ChainID: o.name, Origin: last.Origin, Size: last.Size, Root: last.Root, Height: last.Height,
			Time: time.UnixMilli(last.Time).UTC(), Tx: last.Tx}
		copy(opt.Recorded.BlockHash[:], last.Block)
	}
	r, err := anchoring.New(opt)
	if err == nil {
		o.runner.Store(r)
	}
	return b, err
}

func (g *gateway) runChains(ctx context.Context, work *errgroup.Group) {
	for _, o := range g.others {
		work.Go(func() error { return g.anchorOther(ctx, o) })
	}
}

// anchorOther anchors one ledger after the other until ctx ends.
func (g *gateway) anchorOther(ctx context.Context, o *otherChain) error {
	for ctx.Err() == nil {
		turn, ended := context.WithCancel(ctx)
		b, err := g.nextOther(ctx, o, ended)
		if err == nil {
			go func() { // a ledger that ends has its last checkpoint anchored
				for turn.Err() == nil {
					wait(turn, rollEvery)
					if now, ok := g.shelf.Named(b.Origin()); ok && now.End != b.End {
						ended()
					}
				}
			}()
			err = o.runner.Load().Run(turn)
		}
		ended()
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// keepNote stores a signed checkpoint before it is sent.
func (g *gateway) keepNote(ctx context.Context, o *otherChain, note []byte) error {
	origin, _, _ := strings.Cut(string(note), "\n")
	c, err := statement.OpenCheckpoint(note, origin, g.logKey)
	if err != nil {
		return err
	}
	return g.store.Update(ctx, func(tx *store.Tx) error { return tx.KeepNote(o.name, c.Origin, c.Size, c.Root, note) })
}

// recordOther keeps an anchor with its evidence, which is checked as verifiers
// will. One that cannot be proven after a few tries is kept without.
func (g *gateway) recordOther(ctx context.Context, o *otherChain, b shard.Book, a anchoring.Anchor) error {
	e, err := g.store.Note(ctx, o.name, a.Origin, a.Size)
	if errors.Is(err, store.ErrNotFound) {
		note, err := b.Checkpoint(ctx)
		if err != nil {
			return err
		}
		c, err := statement.OpenCheckpoint(note, b.Origin(), g.logKey)
		if err != nil || c.Size != a.Size || [32]byte(c.Root) != a.Root {
			g.log.Warn("chain has an anchor whose signed checkpoint is not at hand; passports show the next one", "chain", o.name, "size", a.Size)
			return nil
		}
		lines, err := g.witnesses.Lines(ctx, c.Origin, c.Size, c.Root)
		if err != nil {
			return err
		}
		e.Note = append(slices.Clip(note), lines...)
	} else if err != nil {
		return err
	}
	proof, err := g.proveOther(ctx, o, a, e.Note)
	if err != nil {
		if o.unready[a.Size]++; o.unready[a.Size] < evidenceTries {
			return fmt.Errorf("evidence: %w", err)
		}
		g.log.Warn("anchor is kept without evidence: passports declare it", "chain", o.name, "size", a.Size, "err", err)
	}
	clear(o.unready)
	e = store.Elsewhere{Evidence: proof, Anchor: store.Anchor{Size: a.Size, Origin: a.Origin, Chain: o.name, Root: a.Root, Height: a.Height,
		Time: a.Time.UnixMilli(), Block: a.BlockHash[:], Tx: a.Tx, Note: e.Note}}
	if err := g.store.Update(ctx, func(tx *store.Tx) error { return tx.PutElsewhere(e) }); err != nil {
		return err
	}
	if g.conf.Chains.Prefer == o.name {
		g.tellFinal(e.Note, a)
	}
	return nil
}

func (g *gateway) proveOther(ctx context.Context, o *otherChain, a anchoring.Anchor, note []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, evidenceWithin)
	defer cancel()
	proof, err := o.chain.Evidence(ctx, a)
	if err != nil {
		return nil, err
	}
	pinned := passport.Chain{ID: o.name, Kind: passport.EVM, Contract: &passport.Contract{Address: o.target.Contract,
		Blocks: []passport.Block{{Number: uint64(a.Height), Hash: a.BlockHash}}}}
	_, err = pinned.Anchor(note, proof)
	return proof, err
}

// tellFinal tells every device of an anchored checkpoint and its block, which its
// next frames name. They are not told who cosigned it.
func (g *gateway) tellFinal(note []byte, a anchoring.Anchor) {
	if cp, err := statement.OpenCheckpoint(note, a.Origin, g.logKey); err == nil {
		note = cp.Bare()
	}
	g.seq.Anchored(a.Origin, note, a.Size, dcbor.MustMarshal(statement.Final{Type: statement.DownFinal, After: statement.After{Origin: sha256.Sum256([]byte(a.Origin)),
		Size: a.Size, Root: a.Root, ChainID: a.ChainID, Height: uint64(a.Height), BlockHash: a.BlockHash}}))
}

// lostOther takes back every anchor whose block the chain has no more, the newest
// first.
func (g *gateway) lostOther(ctx context.Context, o *otherChain, a anchoring.Anchor) error {
	for below := ^uint64(0); ; {
		e, err := g.store.LastElsewhere(ctx, o.name, a.Origin, below)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		if len(e.Block) == 32 {
			if stands, err := o.chain.Stands(ctx, uint64(e.Height), [32]byte(e.Block)); err != nil || stands {
				return err
			}
		}
		if err := g.store.Update(ctx, func(tx *store.Tx) error { return tx.Withdraw(o.name, e.Origin, e.Size) }); err != nil {
			return err
		}
		g.log.Error("anchor withdrawn: its block is gone", "chain", o.name, "size", e.Size, "height", e.Height)
		below = e.Size
	}
}

// chainStatus is what the status page shows of the other chains.
func (g *gateway) chainStatus(origin string, entries, readings uint64) (out []api.Anchor) {
	for _, o := range g.others {
		s, r := o.runner.Load().Status(), o.chain.Report()
		lag := s.Lag + entries // of a ledger that is over, and all of the present one
		if s.Origin == origin {
			lag = entries - min(s.Last.Size, entries)
		}
		a := api.Anchor{Chain: o.name, Contract: o.target.Contract.Hex(), Height: r.Latest, Final: r.Final, Size: s.Last.Size, At: millis(s.Last.Time),
			Lag: lag, State: s.State, Trouble: s.Error, Parked: len(r.Parked)}
		if wei, gas := r.Cost.PerHead(); wei != nil {
			a.Gas, a.Fee, a.FeeReadings = gas, evm.Coins(wei), evm.Coins(r.Cost.Per(1000, readings))
		}
		for _, e := range r.Endpoints {
			if e.Trouble != "" {
				a.Endpoints = append(a.Endpoints, e.Name+": "+e.Trouble)
			}
		}
		for _, alarm := range r.Alarms {
			text, _, _ := strings.Cut(alarm.Text, "\n")
			a.Alarms = append(a.Alarms, api.ChainAlarm{Kind: alarm.Kind, Text: text, At: millis(alarm.At), Ended: millis(alarm.Healed)})
		}
		out = append(out, a)
	}
	return out
}

func (g *gateway) closeChains() {
	for _, o := range g.others {
		if err := o.close(); err != nil {
			g.log.LogAttrs(context.Background(), slog.LevelError, "closing a chain", slog.String("chain", o.name), slog.Any("err", err))
		}
	}
}
