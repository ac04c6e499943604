// Command anchor checks evidence without asking any server of ours.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"trailmark/internal/command"
	"trailmark/passport"
)

const prefix = "TRAILMARK_ANCHOR"

func main() { command.Main("anchor", run) }

const intro = `anchor checks an item's passport offline: every signature, every receipt, every
range proof, against a trust file that you got from somebody you trust.

  anchor verify --trust FILE PASSPORT

Example: fetch a passport as a shopper's phone would, and check it

  curl -H 'Accept: application/vnd.trailmark.passport+cbor' -o item.passport \
       http://127.0.0.1:8080/01/09521234543213/21/1001
  anchor verify --trust trust.cbor item.passport

Exit codes: 0 verified, 1 refuted or not readable, 2 usage.
`

func run(_ context.Context, args, environ []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(stdout, intro)
		return nil
	}
	switch name, args := args[0], args[1:]; name {
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, intro)
		return flag.ErrHelp
	case "verify":
		return verify(args, environ, stdout)
	default:
		return command.Usagef("unknown command %q; see anchor --help", name)
	}
}

func verify(args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("anchor verify")
	trustPath := f.String("trust", "", "trust `file`: the authority's, the ledger's and the chain's keys")
	asJSON := f.Bool("json", false, "print the verdict as JSON")
	lang := f.String("lang", string(passport.English), "`language` of the words: en or zh-CN")
	if err := command.Parse(f, args, environ, prefix, "anchor verify checks a passport offline and says in plain words what it proves.\n\nExample:\n\n  anchor verify --trust trust.cbor item.passport\n", stdout); err != nil {
		return err
	}
	if *trustPath == "" || f.NArg() != 1 {
		return command.Usagef("want: anchor verify --trust FILE PASSPORT; see anchor verify --help")
	}
	if *lang != string(passport.English) && *lang != string(passport.Chinese) {
		return command.Usagef("language %q is neither en nor zh-CN", *lang)
	}
	pinned, err := readLimited(*trustPath, 256<<10)
	if err != nil {
		return err
	}
	trust, err := passport.ParseTrust(pinned)
	if err != nil {
		return err
	}
	data, err := readLimited(f.Arg(0), passport.MaxSize)
	if err != nil {
		return err
	}
	began := time.Now()
	v, err := passport.Verify(data, trust)
	took := time.Since(began)
	if err != nil {
		return refuted(err, *asJSON, stdout)
	}
	if *asJSON {
		return json.NewEncoder(stdout).Encode(struct {
			Verified bool `json:"verified"`
			*passport.Verdict
			Bytes  int     `json:"bytes"`
			Millis float64 `json:"ms"`
		}{true, v, len(data), float64(took.Microseconds()) / 1000})
	}
	print(stdout, v, passport.Lang(*lang))
	fmt.Fprintf(stdout, "\n%d bytes verified in %.1f ms, offline\n", len(data), float64(took.Microseconds())/1000)
	return nil
}

func print(w io.Writer, v *passport.Verdict, lang passport.Lang) {
	fmt.Fprintf(w, "%s\n", v.Sentence(lang))
	for _, s := range v.Explain(lang, time.Local) {
		fmt.Fprintf(w, "\n%s\n", s.Title)
		for _, line := range s.Lines {
			fmt.Fprintf(w, "  %s\n", strings.TrimRight(line, " "))
		}
	}
}

// refuted says why a passport does not stand and asks for exit code 1.
func refuted(err error, asJSON bool, stdout io.Writer) error {
	var r *passport.Refusal
	if !errors.As(err, &r) {
		return err
	}
	if asJSON {
		if err := json.NewEncoder(stdout).Encode(struct {
			Verified bool          `json:"verified"`
			Code     passport.Code `json:"code"`
			Reason   string        `json:"reason"`
		}{false, r.Code, r.Error()}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(stdout, "REFUTED: %v\nThis file does not prove what it claims. Do not rely on anything in it.\n", r)
	}
	return command.Exit(1)
}

func readLimited(path string, limit int64) ([]byte, error) {
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
		return nil, fmt.Errorf("%s is over the limit of %d bytes", path, limit)
	}
	return data, nil
}
