package termqr

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	go_qr "github.com/piglig/go-qr"
)

// TestWrite reads the drawing back, module by module.
func TestWrite(t *testing.T) {
	const text = "https://10.0.0.5:8443/#ABC-DEF-GHJ.00"
	var out bytes.Buffer
	if err := Write(&out, text); err != nil {
		t.Fatal(err)
	}
	code, err := go_qr.EncodeText(text, go_qr.Low)
	if err != nil {
		t.Fatal(err)
	}
	var rows [][]bool // true: light
	for line := range strings.Lines(out.String()) {
		var top, bottom []bool
		for _, cell := range strings.TrimSuffix(strings.TrimPrefix(line, "  "), "\n") {
			top, bottom = append(top, cell == '█' || cell == '▀'), append(bottom, cell == '█' || cell == '▄')
		}
		rows = append(rows, top, bottom)
	}
	n := code.GetSize()
	if len(rows) < n+4 {
		t.Fatalf("%d rows for a code of %d and its quiet zone", len(rows), n)
	}
	for y, row := range rows {
		if len(row) != n+4 {
			t.Fatalf("row %d has %d modules, want %d", y, len(row), n+4)
		}
		for x, light := range row {
			inside := x >= 2 && x < n+2 && y >= 2 && y < n+2
			if light == (inside && code.GetModule(x-2, y-2)) {
				t.Fatalf("module %d, %d is wrong", x-2, y-2)
			}
		}
	}
	if err := Write(&out, strings.Repeat("x", 5000)); err == nil {
		t.Error("more than a QR code holds was drawn")
	}
	if err := Write(failing{}, text); !errors.Is(err, errFull) {
		t.Errorf("a writer that fails: %v", err)
	}
}

var errFull = errors.New("full")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFull }
