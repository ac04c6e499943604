package app

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/gateway/internal/store"
)

// TestOperationsRefuse holds what a person sees who asks for what cannot be done;
// nothing is signed then.
func TestOperationsRefuse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "o")
	if err := Init(dir, DefaultOrganisation(), true, now, &strings.Builder{}); err != nil {
		t.Fatal(err)
	}
	key := strings.Repeat("0a", 32)
	ran := filepath.Join(t.TempDir(), "ran")
	if err := Init(ran, DefaultOrganisation(), true, now, &strings.Builder{}); err != nil {
		t.Fatal(err)
	}
	makeStore(t, ran)
	erase := func(change func(*EraseConfig)) error {
		c := EraseConfig{Dir: ran, Device: key, Channel: "x", Why: "test", Frames: "1..2"}
		change(&c)
		return Erase(t.Context(), c, now, &strings.Builder{})
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"no gateway ran":      {Revoke(t.Context(), RevokeConfig{Dir: dir, Device: key}, now, &strings.Builder{}), "hint: gateway run --dir " + dir},
		"devices of none":     {Devices(t.Context(), dir, now, &strings.Builder{}), "hint: gateway run --dir " + dir},
		"no organisation":     {Devices(t.Context(), t.TempDir(), now, &strings.Builder{}), "hint: gateway init"},
		"no key":              {Revoke(t.Context(), RevokeConfig{Dir: ran, Device: "0a0b"}, now, &strings.Builder{}), "hint: gateway devices"},
		"unknown key":         {Revoke(t.Context(), RevokeConfig{Dir: ran, Device: key}, now, &strings.Builder{}), "is no device's here"},
		"unknown key's data":  {erase(func(*EraseConfig) {}), "is no device's here"},
		"no reason":           {erase(func(c *EraseConfig) { c.Why = "" }), "hint: --why"},
		"neither time":        {erase(func(c *EraseConfig) { c.Frames = "" }), "hint: --from"},
		"both":                {erase(func(c *EraseConfig) { c.From = "2026-03-01T00:00:00Z" }), "hint: --from"},
		"half a time":         {erase(func(c *EraseConfig) { c.Frames, c.From = "", "2026-03-01T00:00:00Z" }), "hint: a time is written"},
		"a day without zone":  {erase(func(c *EraseConfig) { c.Frames, c.From, c.To = "", "2026-03-01", "2026-03-02" }), "hint: a time is written"},
		"times the wrong way": {erase(func(c *EraseConfig) { c.Frames, c.From, c.To = "", "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z" }), "not after"},
		"frames reversed":     {erase(func(c *EraseConfig) { c.Frames = "5..4" }), "span of frames"},
		"no frames":           {erase(func(c *EraseConfig) { c.Frames = "all" }), "span of frames"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", name, c.err, c.want)
		}
	}
	left, err := filepath.Glob(filepath.Join(ran, inboxDir, "[^0]*"))
	if err != nil || len(left) > 0 {
		t.Errorf("in the inbox: %v, %v", left, err)
	}
}

func makeStore(t *testing.T, dir string) {
	t.Helper()
	st, err := store.Open(t.Context(), filepath.Join(dir, ownDir))
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
}

// TestSelection: times are to the millisecond, one number is one frame.
func TestSelection(t *testing.T) {
	key := strings.Repeat("0a", 32)
	sel, err := EraseConfig{Device: key, Channel: "x", From: "2026-03-01T08:00:00+08:00", To: "2026-03-01T00:00:00.5Z"}.selection()
	if at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixMilli(); err != nil || sel.From != at || sel.To != at+500 || sel.Frames != nil {
		t.Errorf("times: %+v, %v", sel, err)
	}
	sel, err = EraseConfig{Device: key, Channel: "x", Frames: "7"}.selection()
	if err != nil || sel.Frames == nil || *sel.Frames != [2]uint64{7, 7} {
		t.Errorf("one frame: %+v, %v", sel, err)
	}
}

// TestPrivate: audits are open without being asked for only where nobody from
// outside can ask.
func TestPrivate(t *testing.T) {
	for _, c := range []struct {
		ip, base string
		want     bool
	}{
		{"127.0.0.1", "", true},
		{"::1", "", true},
		{"127.0.0.1", "https://trace.acme.example", false}, // a proxy stands before it
		{"0.0.0.0", "", false},
		{"::", "", false},
		{"10.0.0.5", "", false},
	} {
		if got := (Config{Base: c.base}).private(&net.TCPAddr{IP: net.ParseIP(c.ip), Port: 8080}); got != c.want {
			t.Errorf("%s %q: %v, want %v", c.ip, c.base, got, c.want)
		}
	}
}
