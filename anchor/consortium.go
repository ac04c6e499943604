package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"trailmark/internal/chain/comet"
	"trailmark/internal/command"
	"trailmark/passport"
)

// alone is what every sight of a chain with one validator says.
const alone = "1 of 1: tamper-evident only to those who kept earlier heads"

const memberStatusIntro = `anchor status asks a member of a consortium chain how it stands: height, how many
validators and how many of them may fail, ledgers with their last anchor and how long
ago that was, proposals under way. With --trust each ledger's newest anchor is proven
to a block that the validators pinned in the trust file signed, or those that they
handed over to; without, all of it is the member's word.

Example:

  anchor status --chain comet://10.0.0.5:26657 --trust trust.cbor

Exit codes: 0 the member answers and what was to be proven is, 1 otherwise, 2 usage.
`

// ofMember reports whether a status is asked of a consortium's member rather than
// of an EVM chain: by --chain comet://HOST:PORT.
func ofMember(args, environ []string) bool {
	return slices.ContainsFunc(append(slices.Clone(environ), args...), func(s string) bool {
		return strings.HasPrefix(s, "comet://") || strings.Contains(s, "=comet://") && (strings.HasPrefix(s, "-") || strings.HasPrefix(s, prefix+"_CHAIN="))
	})
}

type memberStanding struct {
	comet.Status
	Faults int           `json:"may_fail"` // validators of equal power
	Proven bool          `json:"proven"`
	Words  string        `json:"words"`
	Lag    time.Duration `json:"lag_ns"` // since the last anchor of any ledger
}

func memberStatus(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("anchor status")
	chain := f.String("chain", "comet://127.0.0.1:26657", "a member's RPC, comet://`host:port`")
	trust := f.String("trust", "", "trust `file` that pins the validators")
	asJSON := f.Bool("json", false, "print as JSON")
	if err := flags(f, args, environ, memberStatusIntro, stdout); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := pinnedMember(ctx, *chain, *trust)
	if err != nil {
		return err
	}
	s := memberStanding{Proven: *trust != ""}
	if s.Status, err = c.Status(ctx); err != nil {
		return err
	}
	var last time.Time
	for _, o := range s.Origins {
		if s.Proven {
			p, err := c.Head(ctx, o.Origin)
			if err != nil {
				return err
			}
			if p.Size < o.Size {
				return fmt.Errorf("member says %q is anchored at size %d, proves %d", o.Origin, o.Size, p.Size)
			}
		}
		if o.Time.After(last) {
			last = o.Time
		}
	}
	n := len(s.Validators)
	s.Faults = (n - 1) / 3
	switch {
	case n == 1:
		s.Words = alone
	case s.Faults == 0:
		s.Words = fmt.Sprintf("%d validators: the chain stops when one fails", n)
	default:
		s.Words = fmt.Sprintf("%d validators, %d may fail or lie", n, s.Faults)
	}
	if !last.IsZero() {
		s.Lag = time.Since(last)
	}
	if *asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		return e.Encode(s)
	}
	fmt.Fprintf(stdout, "chain       %s, version %d\nheight      %d\napp hash    %s\nvalidators  %s\n", s.ChainID, s.Version, s.Height, s.AppHash, s.Words)
	for _, v := range s.Validators {
		fmt.Fprintf(stdout, "            %s power %d %s\n", v.Key, v.Power, v.Name)
	}
	fmt.Fprintf(stdout, "anchors     %d of %d ledgers\n", s.Anchors, len(s.Origins))
	for _, o := range s.Origins {
		at := "never anchored"
		if o.Size > 0 {
			at = fmt.Sprintf("size %d in block %d", o.Size, o.Height)
		}
		if !o.Time.IsZero() {
			at += fmt.Sprintf(" at %s, %s ago", o.Time.Format(time.RFC3339), time.Since(o.Time).Round(time.Second))
		}
		fmt.Fprintf(stdout, "            %s: %s\n", o.Origin, at)
	}
	for _, p := range s.Proposals {
		if !p.Done {
			fmt.Fprintf(stdout, "proposal    %s: %s %s, power %d %s; %d for it, until %s\n", p.ID, p.Change, p.Key, p.Power, p.Name, p.Yes, p.Until.Format(time.RFC3339))
		}
	}
	if s.Proven {
		_, err = fmt.Fprintln(stdout, "proven      each ledger's newest anchor, under the pinned validators")
	} else {
		_, err = fmt.Fprintln(stdout, "proven      nothing: this is the member's word; --trust FILE checks it")
	}
	return err
}

const proveIntro = `anchor prove fetches the proof that a ledger's head is on a consortium chain and
since when, checks it against the validators that a trust file pins, and writes it as
the chain evidence that a passport carries.

Example:

  anchor prove --chain comet://10.0.0.5:26657 --trust trust.cbor \
    --origin acme.example/acme/2026h1 --size 4096 -o head.evidence
`

func prove(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("anchor prove")
	chain := f.String("chain", "comet://127.0.0.1:26657", "a member's RPC, comet://`host:port`")
	trust := f.String("trust", "", "trust `file` that pins the validators")
	origin := f.String("origin", "", "ledger's origin `line`")
	size := f.Uint64("size", 0, "ledger `size`; 0 for the newest anchor")
	out := f.String("o", "", "`file` to write the evidence to")
	if err := flags(f, args, environ, proveIntro, stdout, trust, origin); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := pinnedMember(ctx, *chain, *trust)
	if err != nil {
		return err
	}
	p, err := c.Head(ctx, *origin)
	if *size > 0 {
		p, err = c.Prove(ctx, *origin, *size)
	}
	if err != nil {
		return err
	}
	if !p.Found {
		return fmt.Errorf("%s is registered on chain %s and was never anchored", *origin, c.ChainID())
	}
	evidence, err := p.Light()
	if err != nil {
		return err
	}
	if *out != "" {
		if err := os.WriteFile(*out, evidence, 0o644); err != nil {
			return err
		}
	}
	words := fmt.Sprintf("signed by over two thirds of %d validators", len(c.Voters()))
	if len(c.Voters()) == 1 {
		words = alone
	}
	_, err = fmt.Fprintf(stdout, "origin     %s\nsize       %d\nroot       %x\nblock      %d %x\nnot after  %s\nchain      %s, %s\nevidence   %d bytes\n",
		p.Origin, p.Size, p.Root, p.Height, p.Block, p.Time.Format(time.RFC3339Nano), c.ChainID(), words, len(evidence))
	return err
}

// pinnedMember is a client that goes by a trust file, or by the member itself
// without one.
func pinnedMember(ctx context.Context, chain, trust string) (*comet.Client, error) {
	if trust == "" {
		return ownMember(ctx, chain)
	}
	addr, err := memberAddr(chain)
	if err != nil {
		return nil, err
	}
	data, err := readLimited(trust, maxTrust, "")
	if err != nil {
		return nil, err
	}
	t, err := passport.ParseTrust(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", trust, err)
	}
	own, err := comet.DialTrusting(ctx, addr)
	if err != nil {
		return nil, err
	}
	for _, ch := range t.Chains {
		if ch.Kind != passport.Comet || ch.ID != own.ChainID() || len(ch.Keys) == 0 {
			continue
		}
		pins := comet.Pins{ChainID: ch.ID}
		for _, k := range ch.Keys {
			pins.Validators = append(pins.Validators, comet.Voter{Key: ed25519.PublicKey(k.Key[:]), Power: int64(k.Power)})
		}
		return comet.Dial(addr, pins)
	}
	return nil, fmt.Errorf("%s pins no validators of chain %q", trust, own.ChainID())
}
