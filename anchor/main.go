// Command anchor checks evidence without asking any server of ours.
package main

import (
	"context"
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

Example: fetch a passport as a shopper's phone would, and check it

  curl -H 'Accept: application/vnd.trailmark.passport+cbor' -o item.passport \
       http://127.0.0.1:8080/01/09521234543213/21/1001
  anchor verify --trust trust.cbor item.passport

Exit codes: 0 verified, 1 refuted or not readable, 2 usage.
`

func run(_ context.Context, args, environ []string, stdout, _ io.Writer) error {
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
