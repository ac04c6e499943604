package board

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A machine whose clock was never set, until a plan sets it, and whose card fills up.
func TestMachine(t *testing.T) {
	dir := t.TempDir()
	folder, control := filepath.Join(dir, "data"), filepath.Join(dir, "control")
	b := mustBoard(t, strings.NewReplacer("clock: {}", "clock: {start: 1970}", "/var/lib/machine", folder).Replace(machine))
	p, err := ParsePlan("clock:none@300ms")
	if err == nil {
		err = b.Plan(p)
	}
	if err != nil {
		t.Fatal(err)
	}
	// The command itself has its card filled, sees it full, and has it freed.
	const script = `date +%Y; cd $0; echo disk full >$1
		while (echo x >>try) 2>/dev/null; do rm try; done; echo full; echo disk free >$1
		until (echo kept >>kept) 2>/dev/null; do :; done; echo free
		while test $(date +%Y) = 1970; do :; done; echo set`
	_, out, status := run(t, b, Options{Args: []string{"sh", "-c", script, folder, control}, Control: control})
	if want := "1970\nfull\nfree\nset\n"; out != want || status != 0 {
		t.Errorf("status %d: %q, want %q", status, out, want)
	}
	if kept, err := os.ReadFile(filepath.Join(folder, "kept")); string(kept) != "kept\n" || err != nil {
		t.Errorf("in the folder is %q, %v", kept, err)
	}
	if year := time.Now().Year(); year < 2020 {
		t.Errorf("this machine's clock shows %d", year)
	}
}
