package main

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"trailmark/anchor/internal/report"
	"trailmark/internal/command"
	"trailmark/passport"
)

const reportIntro = `anchor report verifies a passport offline and writes what it proves as one page
(PDF, A4) that carries the files' hashes and the command that checks them. Times
are in the machine's time zone; TZ=Asia/Shanghai before the command sets it.

Example:

  anchor report --trust trust.cbor --lang zh-CN -o item.pdf item.passport

Chinese needs a TrueType font: sudo apt install fonts-droid-fallback

Exit codes: 0 written, 1 refuted, not readable or no font, 2 usage.
`

func reportFile(args []string, stdout io.Writer) error {
	f := command.NewFlags("anchor report")
	trustPath := f.String("trust", "", "trust `file`: the authority's, the ledger's and the chain's keys")
	out := f.String("o", "", "PDF `file` to write")
	audit := f.Bool("audit", false, "open a large passport, with every reading, that you asked for")
	lang := f.String("lang", string(passport.English), "`language` of the page: en or zh-CN")
	fontPath := f.String("font", "", "TrueType `file` with Chinese (default: looked for where fonts are)")
	resolver := f.String("resolver", "https://id.gs1.org", "`url` that the QR code's Digital Link begins with")
	path, err := parse(f, args, nil, "", reportIntro, stdout)
	if err != nil {
		return err
	}
	if *out == "" {
		return command.Usagef("-o FILE is missing; see anchor report --help")
	}
	if u, err := url.Parse(*resolver); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return command.Usagef("resolver %q is not a URL such as https://id.gs1.org", *resolver)
	}
	c, err := check(path, *trustPath, *lang, *audit)
	if err != nil {
		return refuted(err, false, stdout)
	}
	if *fontPath == "" {
		*fontPath = report.FindFont(report.FontFolders())
	}
	var font []byte
	if *fontPath != "" {
		if font, err = report.ReadFont(*fontPath); err != nil {
			return err
		}
	}
	var page bytes.Buffer
	if err := report.Write(&page, report.Report{Verdict: c.verdict, Passport: report.File{Name: path, Data: c.passport},
		Trust: report.File{Name: *trustPath, Data: c.trust}, Lang: passport.Lang(*lang), Zone: time.Local, Made: time.Now(),
		Resolver: *resolver, Font: font}); err != nil {
		return err
	}
	if err := os.WriteFile(*out, page.Bytes(), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s\nwrote %s, %d bytes\n", c.verdict.Sentence(passport.Lang(*lang)), *out, page.Len())
	return nil
}
