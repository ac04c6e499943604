package notify

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestRun plays systemd: it hears READY first, then the watchdog while the loop
// turns, and no watchdog once it hangs.
func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify.sock")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "150000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	hear := func() string {
		t.Helper()
		b := make([]byte, 4096)
		if err := l.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	var alive atomic.Bool
	alive.Store(true)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Run(ctx, alive.Load, func() string { return "3 frames" }, slog.New(slog.DiscardHandler))
	}()
	if got := hear(); got != "READY=1" {
		t.Errorf("first: %q", got)
	}
	for range 2 {
		if got := hear(); got != "STATUS=3 frames\nWATCHDOG=1" {
			t.Errorf("while it lives: %q", got)
		}
	}
	alive.Store(false)
	for got := hear(); got != "STATUS=3 frames"; got = hear() { // one may be on its way
		if !strings.HasSuffix(got, "WATCHDOG=1") {
			t.Fatalf("while it hangs: %q", got)
		}
	}
	if got := hear(); got != "STATUS=3 frames" {
		t.Errorf("while it hangs: %q", got)
	}
	stop()
	for got := hear(); got != "STOPPING=1"; got = hear() {
		if got != "STATUS=3 frames" {
			t.Fatalf("at the end: %q", got)
		}
	}
	<-ended
}

// TestAlone: without systemd nothing waits and nothing is told.
func TestAlone(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	Run(t.Context(), func() bool { t.Error("asked"); return false }, func() string { return "" }, slog.New(slog.DiscardHandler))
}
