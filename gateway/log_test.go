package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"regexp"
	"strings"
	"testing"

	"trailmark/internal/command"
)

// TestEveryCommandLogs: one environment serves all commands, for each has the
// flags of the log.
func TestEveryCommandLogs(t *testing.T) {
	names := regexp.MustCompile(`(?m)^  gateway ([a-z]+) {2,}`).FindAllStringSubmatch(intro, -1)
	if len(names) < 10 {
		t.Fatalf("%d commands in the introduction", len(names))
	}
	for _, m := range names {
		command := []string{m[1]}
		if m[1] == "alarms" {
			command = append(command, "list")
		}
		var out strings.Builder
		if err := run(t.Context(), append(command, "--help"), nil, &out, io.Discard); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%s --help: %v", m[1], err)
		}
		for _, want := range []string{"-log-format", "-log-level", "Example"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s --help says nothing of %s", m[1], want)
			}
		}
		for _, bad := range []string{"TRAILMARK_GATEWAY_LOG_LEVEL=loud", "TRAILMARK_GATEWAY_LOG_FORMAT=xml"} {
			if err := run(t.Context(), command, []string{bad}, io.Discard, io.Discard); !usage(err) {
				t.Errorf("%s with %s: %v", m[1], bad, err)
			}
		}
	}
}

func usage(err error) bool { return command.IsUsage(err) }

func TestJSONLog(t *testing.T) {
	var out bytes.Buffer
	log, w, err := (&logging{"json", "warn"}).start(&out)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	log.Error("loud", "n", 3)
	if _, err := io.WriteString(w, "a line\n"); err != nil {
		t.Fatal(err)
	}
	var entry struct {
		Level, Msg string
		N          int
	}
	if err := json.Unmarshal(out.Bytes(), &entry); err != nil || entry.Level != "ERROR" || entry.Msg != "loud" || entry.N != 3 {
		t.Errorf("%v: %s", err, &out)
	}
}
