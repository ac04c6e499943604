package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trailmark/statement"
)

// TestImportProducts: a dry run writes nothing, a wrong line neither, and what is
// signed lies in one file, which is taken whole or not at all.
func TestImportProducts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "o")
	if err := Init(dir, DefaultOrganisation(), false, now, &strings.Builder{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "p.csv")
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	batches := func() []string {
		names, err := filepath.Glob(filepath.Join(dir, inboxDir, "*"+batchSuffix))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	const good = "GTIN,name,band\n09521234543213,Vaccine,2..8\n9521234543220,Shrimp,-25..-18\n"
	var out strings.Builder
	write(good)
	if err := ImportProducts(t.Context(), dir, file, false, now, &out); err != nil || len(batches()) != 0 {
		t.Fatalf("%v, %v", err, batches())
	}
	for _, want := range []string{"line 2  new  09521234543213  Vaccine", "2 new, 0 changed, 0 the same, 0 wrong", "add --apply", "9521234543220 counts as 09521234543220"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, &out)
		}
	}
	out.Reset()
	write(good + "09521234543237,Soup,hot\n")
	if err := ImportProducts(t.Context(), dir, file, true, now, &out); err == nil || !strings.Contains(err.Error(), "1 of 3 lines") || !strings.Contains(out.String(), "p.csv: line 4, column band: \"hot\" is not a band") || len(batches()) != 0 {
		t.Errorf("%v, %v\n%s", err, batches(), &out)
	}
	write(good)
	if err := ImportProducts(t.Context(), dir, file, true, now, &out); err != nil || len(batches()) != 1 {
		t.Fatalf("%v, %v", err, batches())
	}
	data, err := os.ReadFile(batches()[0])
	if err != nil {
		t.Fatal(err)
	}
	ss, err := parseBatch(data)
	if err != nil || len(ss) != 2 {
		t.Fatalf("%d statements, %v", len(ss), err)
	}
	p, err := ss[1].Product()
	if err != nil || p.GTIN != "09521234543220" || ss[1].Header.Kind != statement.KindProduct {
		t.Errorf("%+v, %v", p, err)
	}
	for n := range len(data) {
		if n > 0 && n != len(data)-len(ss[1].Bytes())-3 {
			if got, err := parseBatch(data[:n]); err == nil {
				t.Fatalf("cut to %d of %d bytes it is %d statements", n, len(data), len(got))
			}
		}
	}
}

// FuzzBatch: any file is an error or whole statements.
func FuzzBatch(f *testing.F) {
	f.Add([]byte{0x43, 1, 2, 3})
	f.Add([]byte{0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		ss, err := parseBatch(data)
		if err == nil && len(ss) == 0 && len(data) > 0 {
			t.Error("bytes that are nothing")
		}
	})
}
