package comet

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const crashHome = "TRAILMARK_TEST_CRASH_HOME"

func TestMain(m *testing.M) {
	if home := os.Getenv(crashHome); home != "" {
		if err := anchorForever(home); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Both processes of the crash test know these.
var (
	crashAdmin  = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	crashSender = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, 32))
	crashOrigin = "trailmark.example/crash/2026h1"
)

func crashLog(t testing.TB) *testLog { return seededLog(t, crashOrigin, bytes.Repeat([]byte{3}, 32)) }

// anchorForever anchors one size after the other and prints each one that the
// chain has acknowledged, until it is killed.
func anchorForever(home string) error {
	ctx := context.Background()
	n, err := Start(ctx, Config{
		Home: home, ChainID: testChain, Admin: public(crashAdmin),
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	var t testing.T // for helpers that fail only on programming errors
	l := crashLog(&t)
	if err := n.Submit(ctx, l.register(crashAdmin, 1, crashSender)); err != nil {
		return err
	}
	head, _, err := n.Head(crashOrigin)
	if err != nil {
		return err
	}
	fmt.Println("head", head.Size)
	for size := head.Size + 1; ; size++ {
		if err := n.Submit(ctx, l.anchor(crashSender, size)); err != nil {
			return err
		}
		fmt.Println("anchored", size)
	}
}

// Killed without warning in the middle of anchoring, again and again, the
// validator starts again and has everything it acknowledged.
func TestKill(t *testing.T) {
	home := t.TempDir()
	acked := uint64(0)
	kills := 12
	if os.Getenv("TRAILMARK_LONG") != "" {
		kills = 200
	}
	for kill := range kills {
		stalled, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		cmd := exec.CommandContext(stalled, os.Args[0])
		cmd.Env = append(os.Environ(), crashHome+"="+home)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out := must(cmd.StdoutPipe())(t)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if kill < 3 {
			// In the first start too, wherever it is by then.
			time.AfterFunc(rand.N(60*time.Millisecond), func() { _ = cmd.Process.Kill() })
		}
		doom := 3 + rand.IntN(10)
		lines := 0
		for scan := bufio.NewScanner(out); scan.Scan(); lines++ {
			var word string
			var size uint64
			if _, err := fmt.Sscan(scan.Text(), &word, &size); err != nil {
				t.Fatalf("child says %q", scan.Text())
			}
			if word == "head" && size < acked {
				t.Fatalf("kill %d: head is at %d, acknowledged was %d", kill, size, acked)
			}
			acked = max(acked, size)
			if lines == doom {
				// Not at once: let the next anchor get somewhere.
				time.AfterFunc(rand.N(10*time.Millisecond), func() { _ = cmd.Process.Kill() })
			}
		}
		err := cmd.Wait()
		if stalled.Err() != nil {
			t.Fatalf("kill %d: child anchored %d lines, then nothing for 30s\n%s", kill, lines, stderr.String())
		}
		cancel()
		if cmd.ProcessState.Exited() {
			t.Fatalf("kill %d: child ended by itself: %v\n%s", kill, err, stderr.String())
		}
		if strings.Contains(stderr.String(), "CONSENSUS FAILURE") {
			t.Errorf("kill %d: child logged %s", kill, stderr.String())
		}
	}
	if acked == 0 {
		t.Fatal("no child got anywhere")
	}
	conf := Config{Home: home, ChainID: testChain, Admin: public(crashAdmin), Log: slog.New(slog.DiscardHandler)}
	n := must(Start(t.Context(), conf))(t)
	defer stop(t, n)
	all := must(n.Anchors(crashOrigin, 0, int(acked)))(t)
	if uint64(len(all)) != acked {
		t.Fatalf("%d anchors, %d were acknowledged", len(all), acked)
	}
	for i, a := range all {
		if a.Size != uint64(i+1) || a.Root != rootOf(a.Size) {
			t.Fatalf("anchor %d is %+v", i, a)
		}
		must(n.Evidence(t.Context(), a.Height, a.Tx))(t)
	}
	t.Logf("%d kills, %d acknowledged, none lost, %d blocks", kills, acked, n.Height())
}
