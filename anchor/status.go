package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/transparency-dev/formats/log"

	"trailmark/internal/chain/evm"
	"trailmark/internal/command"
	"trailmark/passport"
)

const maxNote = 64 << 10

// readHead reads what a checkpoint note says of its ledger; its signature is for
// verifiers.
func readHead(path string) (evm.Head, error) {
	data, err := readLimited(path, maxNote, "")
	if err != nil {
		return evm.Head{}, err
	}
	var c log.Checkpoint
	if _, err := c.Unmarshal(data); err != nil {
		return evm.Head{}, fmt.Errorf("%s: %w", path, err)
	}
	if len(c.Hash) != 32 || c.Size == 0 {
		return evm.Head{}, fmt.Errorf("%s: size %d with a root of %d bytes, want more than 0 and 32", path, c.Size, len(c.Hash))
	}
	return evm.Head{Origin: c.Origin, Size: c.Size, Root: [32]byte(c.Hash)}, nil
}

const statusIntro = `anchor status asks an EVM chain how the contract and a ledger's head stand, and
with --state what a submitter has under way, what went wrong, and what it cost. For
a gateway the folder is data/gateway/evm/<chain id>-<contract>.

` + chainHelp + `
Example:

  anchor status --chain evm+http://127.0.0.1:8545#0x… --origin acme.example/acme/2026h1 \
    --state data/gateway/evm/1-0x… --readings 120000

Exit codes: 0 the chain answers and no alarm is open, 1 otherwise, 2 usage.
`

// standing is what anchor status prints as JSON.
type standing struct {
	Chain     string         `json:"chain"`
	Genesis   string         `json:"genesis"`
	Contract  string         `json:"contract"`
	Owner     string         `json:"owner"`
	Latest    uint64         `json:"latest"`
	Final     uint64         `json:"final"`
	Endpoints []evm.Endpoint `json:"endpoints"`
	Origin    string         `json:"origin,omitempty"`
	Size      uint64         `json:"size"`
	Root      string         `json:"root,omitempty"`
	Block     uint64         `json:"block,omitempty"`
	Time      int64          `json:"time,omitempty"` // seconds
	Newer     uint64         `json:"not_final_size,omitempty"`
	Key       *keyStanding   `json:"key,omitempty"`
}

// keyStanding is a submitter's part of it.
type keyStanding struct {
	Address  string       `json:"address"`
	Role     string       `json:"role,omitempty"`
	Coins    string       `json:"coins,omitempty"`
	Attempts int          `json:"attempts"`
	Fee      string       `json:"fee,omitempty"`
	Alarms   []evm.Alarm  `json:"alarms"`
	Parked   []evm.Parked `json:"parked"`
	Heads    uint64       `json:"anchored"`
	Gas      uint64       `json:"gas_per_anchor,omitempty"`
	Per      string       `json:"coins_per_anchor,omitempty"`
	Readings string       `json:"coins_per_1000_readings,omitempty"`
}

func status(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("anchor status")
	var c chainFlags
	c.chain(f)
	origin := f.String("origin", "", "ledger's origin `line`")
	state := f.String("state", "", "`folder` of a submitter")
	readings := f.Uint64("readings", 0, "`number` of readings in the ledger, for the cost of 1,000 of them")
	asJSON := f.Bool("json", false, "print as JSON")
	if err := command.Parse(f, args, environ, prefix, statusIntro, stdout); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return command.Usagef("unexpected argument %q", f.Arg(0))
	}
	client, err := c.open(true)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, bad, err := stand(ctx, client, *origin, *state, *readings)
	if err != nil {
		for _, e := range client.Endpoints() {
			if e.Trouble != "" {
				fmt.Fprintf(stdout, "endpoint   %s: %s\n", e.Name, e.Trouble)
			}
		}
		return err
	}
	if *asJSON {
		err = json.NewEncoder(stdout).Encode(s)
	} else {
		s.print(stdout)
	}
	if err == nil && bad {
		return command.Exit(1)
	}
	return err
}

func stand(ctx context.Context, client *evm.Client, origin, state string, readings uint64) (s standing, bad bool, err error) {
	pins, err := client.Pins(ctx)
	if err != nil {
		return s, true, err
	}
	latest, final, err := client.Tips(ctx)
	if err != nil {
		return s, true, err
	}
	owner, err := client.Owner(ctx, latest)
	if err != nil {
		return s, true, err
	}
	s = standing{Chain: evm.Name(pins.ChainID), Genesis: pins.Genesis.Hex(), Contract: client.Target().Contract.Hex(), Owner: owner.Hex(),
		Latest: latest.Number, Final: final.Number, Origin: origin}
	if origin != "" {
		on, err := client.HeadAt(ctx, final, origin)
		if err != nil {
			return s, true, err
		}
		if on.Size > 0 {
			a, err := client.Locate(ctx, final, evm.Head{Origin: origin, Size: on.Size, Root: on.Root}, on)
			if err != nil {
				return s, true, err
			}
			s.Size, s.Root, s.Block, s.Time = on.Size, on.Root.Hex(), a.Height, int64(a.Time)
		}
		now, err := client.HeadAt(ctx, latest, origin)
		if err != nil {
			return s, true, err
		}
		if now.Size > on.Size {
			s.Newer = now.Size
		}
	}
	if state != "" {
		if s.Key, bad, err = keyStands(ctx, client, latest, origin, state, readings); err != nil {
			return s, true, err
		}
	}
	s.Endpoints = client.Endpoints()
	return s, bad, nil
}

func keyStands(ctx context.Context, client *evm.Client, latest evm.Block, origin, state string, readings uint64) (k *keyStanding, bad bool, err error) {
	r, err := evm.ReadReport(state)
	if err != nil {
		return nil, true, err
	}
	if r.Contract != client.Target().Contract {
		return nil, true, fmt.Errorf("%s is of contract %s, --chain names %s", state, r.Contract, client.Target().Contract)
	}
	k = &keyStanding{Address: r.Address.Hex(), Attempts: r.Attempts, Fee: r.Fee, Alarms: r.Alarms, Parked: r.Parked, Heads: r.Cost.Heads}
	if origin != "" {
		role, err := client.Role(ctx, latest, origin, r.Address)
		if err != nil {
			return nil, true, err
		}
		names := []string{"none", "submitter", "paused"}
		if k.Role = fmt.Sprint(role); int(role) < len(names) {
			k.Role = names[role]
		}
	}
	wei, err := client.Balance(ctx, latest, r.Address)
	if err != nil {
		return nil, true, err
	}
	k.Coins = evm.Coins(wei)
	if wei, gas := r.Cost.PerHead(); wei != nil {
		k.Per, k.Gas = evm.Coins(wei), gas
		k.Readings = evm.Coins(r.Cost.Per(1000, readings))
	}
	for _, a := range r.Alarms {
		bad = bad || a.Healed.IsZero()
	}
	return k, bad, nil
}

func (s standing) print(w io.Writer) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("chain", "%s, genesis %s", s.Chain, s.Genesis)
	line("contract", "%s, its code is this program's, owner %s", s.Contract, s.Owner)
	line("block", "%d is the newest, %d is final", s.Latest, s.Final)
	for _, e := range s.Endpoints {
		if e.Trouble == "" {
			e.Trouble = "answers"
		}
		line("endpoint", "%s: %s", e.Name, e.Trouble)
	}
	switch {
	case s.Origin == "":
	case s.Size == 0:
		line("ledger", "%s: nothing is final", s.Origin)
	default:
		line("ledger", "%s: size %d, root %s, in block %d of %s", s.Origin, s.Size, s.Root, s.Block, time.Unix(s.Time, 0).UTC().Format(time.RFC3339))
	}
	if s.Newer > 0 {
		line("", "size %d is in a block that is not final", s.Newer)
	}
	k := s.Key
	if k == nil {
		return
	}
	line("key", "%s, role %s, %s coins", k.Address, k.Role, k.Coins)
	if k.Attempts > 0 {
		line("", "a transaction is in flight: attempt %d, offers %s", k.Attempts, k.Fee)
	}
	if k.Per != "" {
		line("cost", "%d anchored, %d gas and %s coins each", k.Heads, k.Gas, k.Per)
		if k.Readings != "" {
			line("", "%s coins for 1,000 readings", k.Readings)
		}
	}
	for _, p := range k.Parked {
		line("parked", "%s size %d: %s", p.Head.Origin, p.Head.Size, p.Reason)
	}
	for _, a := range k.Alarms {
		end := "goes on"
		if !a.Healed.IsZero() {
			end = "well again " + a.Healed.Format(time.RFC3339)
		}
		line("alarm", "%s of %s, %s: %s", a.Kind, a.At.Format(time.RFC3339), end, a.Text)
	}
}

const pinIntro = `anchor pin adds blocks of an EVM chain to a trust file, so that anchors in them
are checked. It asks the chain's endpoints for the hashes, and takes only final
blocks: whoever makes the trust file answers for the endpoints. Given a passport,
it pins the blocks that its anchors name.

` + chainHelp + `
Example:

  anchor pin --trust trust.cbor --chain evm+https://rpc.example#0x…,chain=1 -o pinned.cbor item.passport
  anchor verify --trust pinned.cbor item.passport
`

func pin(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("anchor pin")
	var c chainFlags
	c.chain(f)
	trustPath := f.String("trust", "", "trust `file` to start from")
	out := f.String("o", "", "trust `file` to write")
	audit := f.Bool("audit", false, "open a large passport, with every reading, that you asked for")
	var blocks []uint64
	f.Func("block", "`number` of a block; repeated for several", func(s string) error {
		var n uint64
		if _, err := fmt.Sscanf(s, "%d", &n); err != nil {
			return errors.New("want a number")
		}
		blocks = append(blocks, n)
		return nil
	})
	if err := command.Parse(f, args, environ, prefix, pinIntro, stdout); err != nil {
		return err
	}
	if *trustPath == "" || *out == "" || f.NArg() > 1 || f.NArg() == 0 && len(blocks) == 0 {
		return command.Usagef("want --trust FILE, -o FILE, and a passport or --block N; see anchor pin --help")
	}
	data, err := readLimited(*trustPath, maxTrust, "")
	if err != nil {
		return err
	}
	trust, err := passport.ParseTrust(data)
	if err != nil {
		return err
	}
	client, err := c.open(true)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	pins, err := client.Pins(ctx)
	if err != nil {
		return err
	}
	chain := evm.Name(pins.ChainID)
	if f.NArg() == 1 {
		named, err := anchorsOf(f.Arg(0), trust, chain, *audit)
		if err != nil {
			return err
		}
		blocks = append(blocks, named...)
	}
	_, final, err := client.Tips(ctx)
	if err != nil {
		return err
	}
	for _, n := range blocks {
		if n > final.Number {
			return fmt.Errorf("block %d of %s is not final, block %d is\nhint: try again later", n, chain, final.Number)
		}
		b, err := client.BlockAt(ctx, n)
		if err != nil {
			return err
		}
		if err := trust.Pin(chain, client.Target().Contract, passport.Block{Number: n, Hash: [32]byte(b.Hash)}); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "pinned block %d of %s: %s\n", n, chain, b.Hash)
	}
	if data, err = trust.Encode(); err != nil {
		return err
	}
	return writeWhole(*out, data)
}

// anchorsOf are the blocks that a passport's anchors on a chain name.
func anchorsOf(path string, trust *passport.Trust, chain string, audit bool) (blocks []uint64, err error) {
	limit, hint := passportLimit(audit)
	data, err := readLimited(path, limit, hint)
	if err != nil {
		return nil, err
	}
	open := passport.Verify
	if audit {
		open = passport.VerifyAudit
	}
	v, err := open(data, trust, time.Now())
	if err != nil {
		return nil, err
	}
	for _, a := range v.Anchors {
		if a.Chain == chain && a.Kind == passport.EVM {
			blocks = append(blocks, a.Height)
		}
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("%s has no anchor on %s", path, chain)
	}
	return blocks, nil
}
