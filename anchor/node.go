package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"trailmark/internal/chain/comet"
	"trailmark/internal/command"
)

const maxGenesis = 1 << 20

const createIntro = `anchor create begins a consortium chain with one validator, whose key it makes in
the folder. The administrator's key registers ledgers later; only its public half
is needed here.

A chain that a gateway keeps for itself need not be created: stop the gateway, and
give anchor node the folder data/gateway/chain.

Example:

  anchor create --dir /var/lib/trailmark-chain --name acme-cold-chain-1 --admin 5f0c…e1
  anchor node   --dir /var/lib/trailmark-chain --listen 0.0.0.0:26656 --rpc 127.0.0.1:26657
`

func createChain(args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("anchor create")
	dir := f.String("dir", "", "`folder` of the member, made anew")
	name := f.String("name", "", "the chain's `name`, fixed for ever (1 to 50 bytes)")
	admin := f.String("admin", "", "administrator's Ed25519 public `key` in hex")
	if err := flags(f, args, environ, createIntro, stdout, dir, name, admin); err != nil {
		return err
	}
	key, err := publicKey(*admin)
	if err != nil {
		return err
	}
	if err := comet.Create(*dir, *name, key); err != nil {
		return err
	}
	m, err := comet.OpenMember(*dir)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "chain      %s, 1 of 1\nvalidator  %x\nnode       %s\n", m.ChainID, m.Public(), m.NodeID)
	return err
}

const joinIntro = `anchor join makes a new organisation's member of a consortium chain from the two
things that a present member hands over: the genesis file and an invitation (anchor
invite). Then anchor node runs it; it follows the chain at once, and votes when the
present validators have voted it in (anchor vote --add).

Example:

  anchor join --dir /var/lib/trailmark-chain --genesis genesis.json --invitation trailmark-chain:iAF…
  anchor node --dir /var/lib/trailmark-chain --listen 0.0.0.0:26656
`

func join(args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("anchor join")
	dir := f.String("dir", "", "`folder` of the member, made anew")
	genesis := f.String("genesis", "", "genesis `file`")
	invitation := f.String("invitation", "", "what anchor invite printed, a `line`")
	if err := flags(f, args, environ, joinIntro, stdout, dir, genesis, invitation); err != nil {
		return err
	}
	inv, err := comet.ParseInvitation(*invitation)
	if err != nil {
		return err
	}
	data, err := readLimited(*genesis, maxGenesis, "")
	if err != nil {
		return err
	}
	if err := comet.Join(*dir, data, inv); err != nil {
		return err
	}
	m, err := comet.OpenMember(*dir)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "chain      %s\nvalidator  %x\nnode       %s\nnext       anchor node --dir %s\nthen       the present validators: anchor vote --add %x --called YOUR-NAME\n",
		m.ChainID, m.Public(), m.NodeID, *dir, m.Public())
	return err
}

const nodeIntro = `anchor node runs a member of a consortium chain: a validator, once it is voted in,
or a full node that follows and serves. It takes part until SIGINT or SIGTERM.

Members meet on --listen, encrypted and authenticated by CometBFT. The RPC serves
gateways (gateway run --chain comet://HOST:PORT), anchor status, anchor vote and new
members that fetch the state; it is plain HTTP whose answers are checked by who asks.

Example:

  anchor node --dir /var/lib/trailmark-chain --listen 0.0.0.0:26656 --rpc 10.0.0.5:26657
`

func runNode(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	f := command.NewFlags("anchor node")
	dir := f.String("dir", "", "`folder` of the member")
	listen := f.String("listen", "127.0.0.1:26656", "`host:port` where peers come in")
	external := f.String("external", "", "`host:port` that peers are told, if it is another than --listen")
	rpc := f.String("rpc", "127.0.0.1:26657", "`host:port` of the RPC; empty for none")
	peers := f.String("peers", "", "more peers to keep connected, `id@host:port` with commas between")
	verbose := f.Bool("verbose", false, "log what CometBFT does")
	if err := flags(f, args, environ, nodeIntro, stdout, dir); err != nil {
		return err
	}
	m, err := comet.OpenMember(*dir)
	if err != nil {
		return err
	}
	level := slog.LevelWarn
	if *verbose {
		level = slog.LevelInfo
	}
	n, err := comet.Start(ctx, comet.Config{Home: *dir, Log: slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})),
		Network: m.Network(*listen, *external, *rpc, list(*peers))})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "node %s@%s of chain %s, validator key %x, rpc %s\n", m.NodeID, *listen, m.ChainID, m.Public(), *rpc)
	select {
	case <-ctx.Done():
		return n.Stop()
	case <-n.Halted():
		return errors.Join(errors.New("consensus has stopped\nhint: the log says why"), n.Stop())
	}
}

const inviteIntro = `anchor invite prints the invitation by which another organisation joins, and writes
the genesis file that goes with it. Hand both over so that they cannot be exchanged
on the way: who joins by them believes them.

Example, on a member whose peers reach it at chain.acme.example:26656:

  anchor invite --dir /var/lib/trailmark-chain --chain comet://127.0.0.1:26657 \
    --peer chain.acme.example:26656 --server chain.acme.example:26657 --genesis genesis.json
`

func invite(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("anchor invite")
	dir := f.String("dir", "", "`folder` of this member")
	chain := f.String("chain", "comet://127.0.0.1:26657", "this member's RPC, comet://`host:port`")
	peer := f.String("peer", "", "`host:port` where the new member reaches this one's --listen")
	server := f.String("server", "", "`host:port` where the new member reaches this one's RPC; empty if it may not, then it executes every block")
	genesis := f.String("genesis", "", "`file` to write the genesis to")
	if err := flags(f, args, environ, inviteIntro, stdout, dir, peer, genesis); err != nil {
		return err
	}
	m, err := comet.OpenMember(*dir)
	if err != nil {
		return err
	}
	c, err := ownMember(ctx, *chain)
	if err != nil {
		return err
	}
	if c.ChainID() != m.ChainID {
		return fmt.Errorf("%s is of chain %q, the folder of %q", *chain, c.ChainID(), m.ChainID)
	}
	inv, err := c.Invite(ctx, m.Genesis, []string{m.NodeID + "@" + *peer}, list(*server))
	if err != nil {
		return err
	}
	if err := os.WriteFile(*genesis, m.Genesis, 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, inv)
	return err
}

const voteIntro = `anchor vote proposes a change of the validators, or of the administrator, and votes
for it with this member's key; or votes for what another proposed. It is carried out
when more than two thirds of the power are for it, until the proposal lapses.

Examples:

  anchor vote --dir DIR --add 77ab…09 --called "Berg Logistics"    propose; prints the id
  anchor vote --dir DIR --yes 1f30…c4                             vote for a proposal
  anchor vote --dir DIR --remove 77ab…09                          propose to remove one
  anchor vote --dir DIR --admin 5f0c…e1                           propose another administrator
`

func vote(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("anchor vote")
	dir := f.String("dir", "", "`folder` of this member")
	chain := f.String("chain", "comet://127.0.0.1:26657", "this member's RPC, comet://`host:port`")
	add := f.String("add", "", "validator `key` in hex to add or re-weight")
	called := f.String("called", "", "`name` of the organisation, with --add")
	power := f.Uint64("power", 1, "voting `power`, with --add")
	remove := f.String("remove", "", "validator `key` in hex to remove")
	admin := f.String("admin", "", "public `key` in hex of the next administrator")
	yes := f.String("yes", "", "`id` of a proposal to vote for")
	lapse := f.Duration("lapse", 7*24*time.Hour, "`time` after which a proposal lapses")
	if err := flags(f, args, environ, voteIntro, stdout, dir); err != nil {
		return err
	}
	given := 0
	for _, s := range []string{*add, *remove, *admin, *yes} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		return command.Usagef("one of --add, --remove, --admin and --yes; see anchor vote --help")
	}
	m, err := comet.OpenMember(*dir)
	if err != nil {
		return err
	}
	c, err := ownMember(ctx, *chain)
	if err != nil {
		return err
	}
	var id [32]byte
	var raw []byte
	if *yes != "" {
		b, err := hex.DecodeString(*yes)
		if err != nil || len(b) != len(id) {
			return command.Usagef("--yes %s: want %d hex digits", *yes, 2*len(id))
		}
		id = [32]byte(b)
		if raw, err = comet.NewVote(m.ChainID, m.Key, id); err != nil {
			return err
		}
	} else {
		p := comet.Proposal{Until: time.Now().Add(*lapse).Unix(), Nonce: uint64(time.Now().UnixNano())}
		if p.Change.Key, err = publicKey(*add + *remove + *admin); err != nil {
			return err
		}
		switch {
		case *admin != "":
			p.Change.Kind = comet.ChangeAdmin
		case *remove != "":
			p.Change.Kind = comet.ChangeValidator
		default:
			p.Change.Kind, p.Change.Power, p.Change.Name = comet.ChangeValidator, *power, *called
		}
		if id, err = p.ID(); err != nil {
			return err
		}
		if raw, err = comet.NewProposal(m.ChainID, m.Key, p); err != nil {
			return err
		}
	}
	voted, err := c.Vote(ctx, raw, id)
	if err != nil {
		return err
	}
	state := "open"
	if voted.Done {
		state = "carried out"
	}
	_, err = fmt.Fprintf(stdout, "proposal %x: %d for it, %s\n", id, voted.Yes, state)
	return err
}

const registerIntro = `anchor register names the keys of a ledger on the chain: who may anchor it, and by
which key its checkpoints are signed. It is signed by the chain's administrator. To
replace a ledger's key, register the old with the next one, then the next one alone.

Example:

  anchor register --chain comet://127.0.0.1:26657 --admin-key chain-admin.pem \
    --log-key 'acme.example/acme/2026h1+3f1b2c4d+AQ…' --submitter 91bc…77
`

func register(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("anchor register")
	chain := f.String("chain", "comet://127.0.0.1:26657", "a member's RPC, comet://`host:port`")
	key := f.String("admin-key", "", "administrator's private key, a PEM `file`")
	logKey := f.String("log-key", "", "the ledger's signed-note verifier `key`; its name is the origin")
	next := f.String("next-log-key", "", "another verifier `key` that counts as well")
	submitters := f.String("submitter", "", "public `keys` in hex with commas between; none closes the ledger")
	if err := flags(f, args, environ, registerIntro, stdout, key, logKey); err != nil {
		return err
	}
	admin, err := privateKey(*key)
	if err != nil {
		return err
	}
	r := comet.Registration{LogKey: *logKey, NextKey: *next}
	r.Origin, _, _ = strings.Cut(*logKey, "+") // no name of a note's key has one
	for _, s := range list(*submitters) {
		k, err := publicKey(s)
		if err != nil {
			return err
		}
		r.Submitters = append(r.Submitters, k)
	}
	c, err := ownMember(ctx, *chain)
	if err != nil {
		return err
	}
	if r, err = c.Register(ctx, admin, r); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "origin %s: revision %d, %d submitters\n", r.Origin, r.Revision, len(r.Submitters))
	return err
}

// flags parses args and wants every one of required.
func flags(f *flag.FlagSet, args, environ []string, intro string, stdout io.Writer, required ...*string) error {
	if err := command.Parse(f, args, environ, prefix, intro, stdout); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return command.Usagef("unexpected argument %q; see %s --help", f.Arg(0), f.Name())
	}
	for _, r := range required {
		if *r == "" {
			return command.Usagef("a flag that must be there is missing; see the example in %s --help", f.Name())
		}
	}
	return nil
}

func list(s string) (out []string) {
	for _, part := range strings.Split(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func publicKey(s string) (ed25519.PublicKey, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, command.Usagef("key %q: want %d hex digits", s, 2*ed25519.PublicKeySize)
	}
	return b, nil
}

func privateKey(path string) (ed25519.PrivateKey, error) {
	data, err := readLimited(path, 16<<10, "")
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: not a PEM file", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	priv, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: want an Ed25519 key", path)
	}
	return priv, nil
}

// memberAddr reads comet://host:port.
func memberAddr(chain string) (string, error) {
	addr, ok := strings.CutPrefix(chain, "comet://")
	if !ok || addr == "" || strings.ContainsAny(addr, "/?#@") {
		return "", command.Usagef("chain %q: want comet://host:port", chain)
	}
	return addr, nil
}

// ownMember is a client of a member whose word is taken.
func ownMember(ctx context.Context, chain string) (*comet.Client, error) {
	addr, err := memberAddr(chain)
	if err != nil {
		return nil, err
	}
	return comet.DialTrusting(ctx, addr)
}
