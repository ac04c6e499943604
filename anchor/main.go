// Command anchor checks evidence without asking any server of ours, puts ledger
// heads on chains, and runs a member of a consortium chain.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"trailmark/internal/command"
	"trailmark/passport"
)

const prefix = "TRAILMARK_ANCHOR"

func main() { command.Main("anchor", run) }

const intro = `anchor checks an item's passport offline: every signature, every place in the
ledger, every range proof, against a trust file that you got from somebody you
trust.

  anchor verify --trust FILE PASSPORT            what the passport proves
  anchor verify --trust FILE --card FILE         what is on a device's card
  anchor report --trust FILE -o PDF PASSPORT     the same as one page of paper
  anchor inspect FILE                            what is in any of our files

On Ethereum-style chains, where it signs and asks what you name:

  anchor key        make a key in a keystore file
  anchor deploy     put the anchoring contract on a chain
  anchor role       name, pause or take back who may anchor a ledger
  anchor submit     anchor signed checkpoints
  anchor status     how contract, ledger and submitter stand, and what it cost
  anchor pin        add a chain's blocks to a trust file, so that anchors are checked

On a consortium chain (CometBFT), as one of its members or their guest:

  anchor create     begin a chain with one validator
  anchor node       run a member: validator or full node
  anchor invite     what another organisation needs to join
  anchor join       join by it
  anchor vote       vote validators in and out
  anchor register   name a ledger's keys, as the administrator
  anchor status     how a chain and its ledgers stand
  anchor prove      the proof that a ledger's head is on a chain

Example: fetch a passport as a shopper's phone would, and check it

  curl -H 'Accept: application/vnd.trailmark.passport+cbor' -o item.passport \
       http://127.0.0.1:8080/01/09521234543213/21/1001
  anchor verify --trust trust.cbor item.passport

Exit codes: 0 verified, 1 refuted or not readable, 2 usage.
`

func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	name, args, err := command.Split(args, intro, stdout)
	if err != nil {
		return err
	}
	switch name {
	case "verify":
		return verify(args, environ, stdout)
	case "inspect":
		return inspectFile(args, stdout)
	case "report":
		return reportFile(args, stdout)
	case "key":
		return makeKey(args, environ, stdout)
	case "deploy":
		return deploy(ctx, args, environ, stdout)
	case "role":
		return setRole(ctx, args, environ, stdout)
	case "submit":
		return submit(ctx, args, environ, stdout, stderr)
	case "status":
		if ofMember(args, environ) {
			return memberStatus(ctx, args, environ, stdout)
		}
		return status(ctx, args, environ, stdout)
	case "pin":
		return pin(ctx, args, environ, stdout)
	case "create":
		return createChain(args, environ, stdout)
	case "node":
		return runNode(ctx, args, environ, stdout, stderr)
	case "invite":
		return invite(ctx, args, environ, stdout)
	case "join":
		return join(args, environ, stdout)
	case "vote":
		return vote(ctx, args, environ, stdout)
	case "register":
		return register(ctx, args, environ, stdout)
	case "prove":
		return prove(ctx, args, environ, stdout)
	default:
		return command.Usagef("unknown command %q; see anchor --help", name)
	}
}

// parse reads flags that stand before or after the one file that a command is
// about, and gives its path.
func parse(f *flag.FlagSet, args, environ []string, prefix, intro string, stdout io.Writer) (path string, err error) {
	for {
		if err := command.Parse(f, args, environ, prefix, intro, stdout); err != nil {
			return "", err
		}
		switch {
		case f.NArg() == 0 && path == "":
			return "", command.Usagef("which file? see %s --help", f.Name())
		case f.NArg() == 0:
			return path, nil
		case path != "":
			return "", command.Usagef("one file at a time: %s or %s? see %s --help", path, f.Arg(0), f.Name())
		}
		path, args = f.Arg(0), f.Args()[1:]
	}
}

// maxTrust bounds a trust file in bytes.
const maxTrust = 256 << 10

// passportLimit is how large a passport may be, and what to do about a larger.
func passportLimit(audit bool) (limit int64, hint string) {
	if audit {
		return passport.MaxAudit, ""
	}
	return passport.MaxSize, "\nhint: if you asked somebody for an audit passport, add --audit"
}

// readLimited reads a file of at most limit bytes.
func readLimited(path string, limit int64, hint string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is over the limit of %d bytes%s", path, limit, hint)
	}
	return data, nil
}

// writeWhole puts a file in place whole or not at all; it survives loss of power
// when writeWhole returns nil.
func writeWhole(path string, data []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
