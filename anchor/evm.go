package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"trailmark/internal/chain/evm"
	"trailmark/internal/command"
)

const chainHelp = `A chain is named by one line:

  evm+https://rpc.example,https://rpc.example.net#0x<contract>,chain=1

with several endpoints, of which more than half must say the same (three guard
against one that lies or fails, two against one that lies), and after # the
contract and options: chain=ID and genesis=0x… are pinned; depth=N takes a block
for final under N others (default: the chain's finalized tag; a BFT chain such as
FISCO BCOS: depth=0); quorum=N; max-fee=GWEI (500); bump=2m until a waiting
transaction offers more; fees=legacy.
`

// chainFlags are those of commands that sign on a chain.
type chainFlags struct {
	url, key, passphrase string
	wait                 time.Duration
}

func (c *chainFlags) chain(f *flag.FlagSet) {
	f.StringVar(&c.url, "chain", "", "the chain's `line`, evm+https://rpc#0xcontract")
}

func (c *chainFlags) signing(f *flag.FlagSet) {
	c.chain(f)
	f.StringVar(&c.key, "key", "", "V3 keystore `file`, or web3signer+http://host:port#0xaddress or clef+http://host:port#0xaddress")
	f.StringVar(&c.passphrase, "passphrase", "", "`file` whose first line opens the keystore file")
	f.DurationVar(&c.wait, "wait", 10*time.Minute, "how long to wait for the chain")
}

// open dials the chain; nothing is asked yet.
func (c *chainFlags) open(contract bool) (*evm.Client, error) {
	if c.url == "" {
		return nil, command.Usagef("--chain is missing: which chain?")
	}
	t, err := evm.ParseTarget(c.url)
	if err != nil {
		return nil, command.Usagef("--chain: %v", err)
	}
	if none := t.Contract == [20]byte{}; none == contract {
		if contract {
			return nil, command.Usagef("--chain names no contract after #; anchor deploy makes one")
		}
		return nil, command.Usagef("--chain names the contract %s: a new one is to be made", t.Contract)
	}
	return evm.Dial(t)
}

func (c *chainFlags) signer() (evm.Signer, error) {
	if c.key == "" {
		return nil, command.Usagef("--key is missing: who signs?")
	}
	return evm.OpenSigner(c.key, c.passphrase)
}

const keyIntro = `anchor key makes a key for EVM chains: a V3 keystore file, which geth, Clef,
Web3Signer and wallets read. Each gateway needs one of its own.

Example:

  anchor key --passphrase submitter.pass -o submitter.json
`

func makeKey(args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("anchor key")
	out := f.String("o", "", "keystore `file` to make; it must not exist")
	pass := f.String("passphrase", "", "`file` whose first line seals it")
	if err := command.Parse(f, args, environ, prefix, keyIntro, stdout); err != nil {
		return err
	}
	if *out == "" || *pass == "" || f.NArg() > 0 {
		return command.Usagef("want -o FILE and --passphrase FILE; see anchor key --help")
	}
	address, err := evm.NewKey(*out, *pass)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, address)
	return err
}

const deployIntro = `anchor deploy puts the anchoring contract on an EVM chain and prints the line
that names it. The owner, who names and pauses submitters and cannot change a head,
may be a multisig wallet; without --owner it is the key that deploys.

` + chainHelp + `
Example:

  anchor deploy --chain evm+http://127.0.0.1:8545 --key owner.json --passphrase owner.pass \
    --origin acme.example/acme/2026h1 --submitter 0x…
`

func deploy(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("anchor deploy")
	var c chainFlags
	c.signing(f)
	owner := f.String("owner", "", "`address` that owns the contract")
	origin := f.String("origin", "", "ledger's origin `line` that --submitter is for")
	submitter := f.String("submitter", "", "`address` of a gateway's key, which may anchor --origin from the start")
	if err := command.Parse(f, args, environ, prefix, deployIntro, stdout); err != nil {
		return err
	}
	switch {
	case f.NArg() > 0:
		return command.Usagef("unexpected argument %q", f.Arg(0))
	case (*origin == "") != (*submitter == ""):
		return command.Usagef("--origin and --submitter belong together")
	case *owner != "" && *submitter != "":
		return command.Usagef("with --owner it is the owner who names submitters: anchor role")
	}
	client, err := c.open(false)
	if err != nil {
		return err
	}
	defer client.Close()
	key, err := c.signer()
	if err != nil {
		return err
	}
	owned := key.Address()
	if *owner != "" {
		if owned, err = evm.ParseAddress(*owner); err != nil {
			return command.Usagef("--owner: %v", err)
		}
	}
	who := evm.Address{}
	if *submitter != "" {
		if who, err = evm.ParseAddress(*submitter); err != nil {
			return command.Usagef("--submitter: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	done, err := client.Deploy(ctx, key, owned, func(tx evm.Hash, at evm.Address) {
		fmt.Fprintf(stdout, "sent: transaction %s makes contract %s\n", tx, at)
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "contract %s in block %d, owner %s: %d gas, %s coins\n", done.Contract, done.Block, owned, done.Gas, evm.Coins(done.Wei))
	t := client.Target()
	t.Contract = done.Contract
	named, err := evm.Dial(t)
	if err != nil {
		return err
	}
	defer named.Close()
	pins, err := named.Pins(ctx)
	if err != nil {
		return err
	}
	if *origin != "" {
		if _, err := named.SetRole(ctx, key, *origin, who, evm.SubmitterRole); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s may anchor %s\n", who, *origin)
	}
	before, _, _ := strings.Cut(c.url, "#")
	fmt.Fprintf(stdout, "\n  --chain '%s#%s,chain=%d,genesis=%s'\n", before, done.Contract, pins.ChainID, pins.Genesis)
	return nil
}

const roleIntro = `anchor role names, pauses or takes back who may anchor a ledger, as the
contract's owner. An owner that is a multisig wallet gets with --calldata what to
send to the contract. A ledger begins a new origin each half-year: name its
submitter beforehand.

` + chainHelp + `
Example:

  anchor role --chain evm+http://127.0.0.1:8545#0x… --key owner.json --passphrase owner.pass \
    --origin acme.example/acme/2026h2 --submitter 0x…
`

func setRole(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("anchor role")
	var c chainFlags
	c.signing(f)
	origin := f.String("origin", "", "ledger's origin `line`")
	submitter := f.String("submitter", "", "`address` of a gateway's key")
	name := f.String("role", "submitter", "`role`: submitter, paused or none")
	calldata := f.Bool("calldata", false, "print what the owner's wallet has to send, and send nothing")
	if err := command.Parse(f, args, environ, prefix, roleIntro, stdout); err != nil {
		return err
	}
	roles := map[string]evm.Role{"submitter": evm.SubmitterRole, "paused": evm.PausedRole, "none": evm.NoRole}
	role, known := roles[*name]
	who, err := evm.ParseAddress(*submitter)
	switch {
	case f.NArg() > 0:
		return command.Usagef("unexpected argument %q", f.Arg(0))
	case !known:
		return command.Usagef("role %q is none of submitter, paused, none", *name)
	case *origin == "":
		return command.Usagef("--origin is missing: of which ledger?")
	case err != nil:
		return command.Usagef("--submitter: %v", err)
	}
	client, err := c.open(true)
	if err != nil {
		return err
	}
	defer client.Close()
	if *calldata {
		data, err := evm.RoleCalldata(*origin, who, role)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(stdout, "to    %s\nvalue 0\ndata  %s\n", client.Target().Contract, data)
		return err
	}
	key, err := c.signer()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	done, err := client.SetRole(ctx, key, *origin, who, role)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s has role %s for %s since block %d: %d gas, %s coins\n", who, *name, *origin, done.Block, done.Gas, evm.Coins(done.Wei))
	return err
}

const submitIntro = `anchor submit anchors signed checkpoints, one of each ledger, and returns when
they are final. Its folder keeps what it has signed: after any interruption the same
command goes on. A gateway does the same by itself (gateway run --chain).

` + chainHelp + `
Example:

  anchor submit --chain evm+http://127.0.0.1:8545#0x…,chain=1337 --key submitter.json --passphrase submitter.pass \
    --state submitter.d checkpoint
`

func submit(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	f := command.NewFlags("anchor submit")
	var c chainFlags
	c.signing(f)
	state := f.String("state", "", "`folder` that keeps what was signed, made if missing")
	if err := command.Parse(f, args, environ, prefix, submitIntro, stdout); err != nil {
		return err
	}
	if f.NArg() == 0 || *state == "" {
		return command.Usagef("want --state FOLDER and checkpoint files; see anchor submit --help")
	}
	var heads []evm.Head
	for _, path := range f.Args() {
		h, err := readHead(path)
		if err != nil {
			return err
		}
		for _, other := range heads {
			if other.Origin == h.Origin {
				return command.Usagef("%s: a second checkpoint of %s; only the larger is needed", path, h.Origin)
			}
		}
		heads = append(heads, h)
	}
	client, err := c.open(true)
	if err != nil {
		return err
	}
	defer client.Close()
	if client.Target().ChainID == 0 {
		return command.Usagef("--chain: want chain=ID after #, as anchor deploy prints it")
	}
	key, err := c.signer()
	if err != nil {
		return err
	}
	sub, err := evm.NewSubmitter(evm.Options{Client: client, Signer: key, Dir: *state, Lease: evm.LeaseOf(c.key, client.Target())})
	if err != nil {
		return err
	}
	defer sub.Close()
	ctx, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	said := ""
	for pause := 200 * time.Millisecond; ; pause = min(2*pause, 4*time.Second) {
		p, err := sub.Step(ctx, heads...)
		var r *evm.Refusal
		switch {
		case errors.As(err, &r) || errors.Is(err, evm.ErrWrongChain):
			return err
		case err != nil:
			p = evm.Progress{Stage: evm.Waiting, Detail: err.Error()}
		case p.Stage == evm.Final:
			for _, a := range p.Anchors {
				fmt.Fprintf(stdout, "%s: size %d is final in block %d of %s, transaction %s\n", a.Origin, a.Size, a.Height, time.Unix(int64(a.Time), 0).UTC().Format(time.RFC3339), a.Tx)
			}
			return nil
		}
		if text := p.String(); text != said {
			said = text
			fmt.Fprintf(stderr, "anchor: %s\n", text)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("not final after %v: %s\nhint: the same command goes on with it", c.wait, said)
		}
	}
}
