// Package vectors holds the golden cases of Trailmark's wire format. They
// decide disputes between docs/wire-format.md and any implementation of it.
//
// Each file testdata/NAME.txt is one case with at most one thing wrong: header
// lines "name: value", an empty line, and a body in lower-case hex, broken into
// lines of 64 digits. Every file ends in a newline; there are no comments, no
// repeated names and no other white space. What a value means depends on kind:
//
//	expect        "ok", or a few words of the reason for which it MUST be refused
//	kind          what the body is:
//	  key           a COSE_Key; thumbprint: its RFC 9679 thumbprint
//	  statement     a statement to verify with key (a COSE_Key) for aud, and whose
//	                payload is then read as the kind it names; id, entry: its names
//	  payload       the payload of a statement of type payload
//	  record        a record to open with index, count, root, path (of its frame)
//	  up            a message of a device: form and records root, not its signature
//	  leaf          a block record body, whose leaf digest for unit, nominal (ms) and
//	                limits is digest (CBOR)
//	  range         a range proof to verify with unit, nominal, limits against head
//	                (CBOR), for window (ms) if there is one; older: heads (CBOR array)
//	                that it is cut at and that are prefixes; digest: what it proves
//	  consistency   the nodes (CBOR array) that lead from older to newer (heads, CBOR)
//	  checkpoint    a signed note of origin by logkey; size, root: what it says
//	  passport      a passport to verify with trust (CBOR) at a time (ms); expect is the
//	                code of the refusal, which MUST be the same everywhere; verdict: the
//	                verdict as JSON, to compare as a value
//	  receipt       a receipt for entry, in the ledger of checkpoint, origin, logkey
//
// Lists (limits, path, window) are separated by single spaces; a limit is
// comparison:value; a list of none is empty. Bytes are lower-case hex; numbers are
// decimal. The words after "expect:" are part of the Go error; another
// implementation MUST refuse as well and may say so in its own words.
//
// corpus/ is a seed for comparing implementations: small files, altered or not,
// and in manifest.json what Go says of each (kind, ok, and of a passport the
// code), with the trust file and the time. testdata/passport-three-legs.bin is a
// passport of realistic size, for measuring, with its trust file and verdict.
package vectors

import (
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

//go:embed testdata/*.txt
var files embed.FS

// A Vector is one golden case.
type Vector struct {
	Name   string // of its file, without .txt
	Header map[string]string
	Body   []byte
}

// All reads every case, in the order of their names.
func All() ([]Vector, error) {
	entries, err := files.ReadDir("testdata")
	if err != nil {
		return nil, err
	}
	all := make([]Vector, 0, len(entries))
	for _, e := range entries {
		data, err := files.ReadFile("testdata/" + e.Name())
		if err != nil {
			return nil, err
		}
		v, err := parse(string(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		v.Name = strings.TrimSuffix(e.Name(), ".txt")
		all = append(all, v)
	}
	return all, nil
}

func parse(text string) (Vector, error) {
	head, body, ok := strings.Cut(text, "\n\n")
	if !ok {
		return Vector{}, errors.New("no empty line between header and body")
	}
	v := Vector{Header: map[string]string{}}
	for line := range strings.SplitSeq(head, "\n") {
		name, value, ok := strings.Cut(line, ":")
		if _, twice := v.Header[name]; !ok || twice || name == "" {
			return Vector{}, fmt.Errorf("header line %q is no new \"name: value\"", line)
		}
		v.Header[name] = strings.TrimPrefix(value, " ")
	}
	var err error
	v.Body, err = hex.DecodeString(strings.ReplaceAll(body, "\n", ""))
	return v, err
}
