package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"trailmark/internal/command"
	"trailmark/passport"
)

const verifyIntro = `anchor verify checks a passport offline and says in plain words what it proves.
With --card it checks what agent export took off a device's card.

Example:

  anchor verify --trust trust.cbor item.passport
  anchor verify --trust trust.cbor --card card.cbor

Exit codes: 0 verified, 1 refuted (with the reason's code) or not readable, 2 usage.
`

func verify(args, environ []string, stdout io.Writer) error {
	f := command.NewFlags("anchor verify")
	trustPath := f.String("trust", "", "trust `file`: the authority's, the ledger's and the chain's keys")
	asJSON := f.Bool("json", false, "print the verdict as JSON")
	audit := f.Bool("audit", false, "open a large passport, with every reading, that you asked for")
	lang := f.String("lang", string(passport.English), "`language` of the words: en or zh-CN")
	isCard := f.Bool("card", false, "the file is what agent export wrote, not a passport")
	path, err := parse(f, args, environ, prefix, verifyIntro, stdout)
	if err != nil {
		return err
	}
	if *isCard {
		return verifyCard(path, *trustPath, *asJSON, stdout)
	}
	c, err := check(path, *trustPath, *lang, *audit)
	if err != nil {
		return refuted(err, *asJSON, stdout)
	}
	if *asJSON {
		return json.NewEncoder(stdout).Encode(struct {
			Verified bool `json:"verified"`
			*passport.Verdict
			Bytes  int     `json:"bytes"`
			Millis float64 `json:"ms"`
		}{true, c.verdict, len(c.passport), millis(c.took)})
	}
	print(stdout, c.verdict, passport.Lang(*lang))
	fmt.Fprintf(stdout, "\n%d bytes verified in %.1f ms, offline\n", len(c.passport), millis(c.took))
	return nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// checked is a passport that stands, and the files it was checked from.
type checked struct {
	verdict         *passport.Verdict
	passport, trust []byte
	took            time.Duration // of the check alone
}

// check reads and verifies a passport. The error is a *passport.Refusal when it
// was read and does not stand.
func check(path, trustPath, lang string, audit bool) (c checked, err error) {
	if trustPath == "" {
		return c, command.Usagef("--trust FILE is missing: a passport is worth nothing against no trust file")
	}
	if lang != string(passport.English) && lang != string(passport.Chinese) {
		return c, command.Usagef("language %q is neither en nor zh-CN", lang)
	}
	if c.trust, err = readLimited(trustPath, maxTrust, ""); err != nil {
		return c, err
	}
	trust, err := passport.ParseTrust(c.trust)
	if err != nil {
		return c, err
	}
	limit, hint := passportLimit(audit)
	if c.passport, err = readLimited(path, limit, hint); err != nil {
		return c, err
	}
	open := passport.Verify
	if audit {
		open = passport.VerifyAudit
	}
	began := time.Now()
	c.verdict, err = open(c.passport, trust, began)
	c.took = time.Since(began)
	return c, err
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
