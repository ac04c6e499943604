package inspect

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/transparency-dev/formats/log"
)

// note prints a signed note's lines, each with its name in a tlog-checkpoint. A
// note is text, not CBOR: what is printed is the values that are in it.
func (p *printer) note(data []byte) {
	p.put(p.comment(fmt.Sprintf("checkpoint note, %d bytes", len(data))) + "\n")
	n, err := openNote(data)
	if err != nil {
		p.put(quote(string(clip(data, p.o.Full)), '\'') + "\n")
		p.broke(breaks(0, "%v", err))
		return
	}
	line := func(name, value string) { p.put(p.comment(name) + " " + value + "\n") }
	var c log.Checkpoint
	extension, err := c.Unmarshal([]byte(n.Text))
	if err != nil {
		line("text", quote(n.Text, '"'))
		p.broke(breaks(0, "not a checkpoint: %v", err))
	} else {
		line("origin", quote(c.Origin, '"'))
		line("tree size", fmt.Sprint(c.Size))
		line("root", p.hex(c.Hash))
		for ext := range strings.Lines(string(extension)) {
			line("extension", quote(strings.TrimSuffix(ext, "\n"), '"'))
		}
	}
	for _, s := range n.UnverifiedSigs {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || len(raw) < 4 {
			line("signature", quote(s.Base64, '"'))
			continue
		}
		line("signature", fmt.Sprintf("{%s %s, %s h'%08x', %s %s}", p.comment("name"), quote(s.Name, '"'),
			p.comment("key hash"), s.Hash, p.comment("bytes"), p.hex(raw[4:])))
	}
}

// noteIDs says in a passport what a checkpoint note is of.
func noteIDs(data []byte) []ident {
	n, err := openNote(data)
	if err != nil {
		return []ident{{word: err.Error()}}
	}
	var c log.Checkpoint
	if _, err := c.Unmarshal([]byte(n.Text)); err != nil {
		return []ident{{word: fmt.Sprintf("not a checkpoint: %v", err)}}
	}
	return []ident{{word: fmt.Sprintf("origin %s, tree size %d", c.Origin, c.Size)}, {"root", c.Hash}}
}
