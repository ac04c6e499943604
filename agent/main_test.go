package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test binary be the command: what is tested is a process.
func TestMain(m *testing.M) {
	if os.Getenv("AGENT_UNDER_TEST") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func agent(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(os.Environ(), append(env, "AGENT_UNDER_TEST=1")...)
	cmd.WaitDelay = 10 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	bus := filepath.Join(dir, "w1")
	if err := os.Mkdir(bus, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name           string
		env            []string
		args           string
		code           int
		stdout, stderr string // one must be there, an empty one must be empty
	}{
		{"nothing", nil, "", 0, "agent run --dir", ""},
		{"help", nil, "--help", 0, "Example", ""},
		{"run help", nil, "run --help", 0, "-w1-root", ""},
		{"status help", nil, "status --help", 0, "-dir", ""},
		{"unknown command", nil, "walk", 2, "", `unknown command "walk"`},
		{"unknown flag", nil, "run --evry 5s", 2, "", "-evry"},
		{"left over", nil, "run now", 2, "", `unexpected argument "now"`},
		{"unknown variable", []string{"TRAILMARK_AGENT_EVRY=5s"}, "run", 2, "", "TRAILMARK_AGENT_EVRY: no such flag --evry"},
		{"bad variable", []string{"TRAILMARK_AGENT_SEAL=soon"}, "run", 2, "", "TRAILMARK_AGENT_SEAL"},
		{"too often", nil, "run --every 1ms", 2, "", "1ms is not within"},
		{"folder is a file", nil, "run --dir " + file + " --w1-root " + bus, 1, "", "hint: give a folder this user may write"},
		{"no bus", nil, "run --dir " + dir + "/a --w1-root " + dir + "/none", 1, "", "hint"},
		{"not enrolled", nil, "run --dir " + dir + "/b --w1-root " + bus, 1, "", "--claim"},
		{"no gateway address", nil, "run --dir " + dir + "/c --claim X --gateway nowhere --w1-root " + bus, 1, "", "nowhere"},
		{"status of nothing", []string{"TRAILMARK_AGENT_LLRP=x:1"}, "status --dir " + dir + "/none", 1, "", "no agent has run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := agent(t, c.env, strings.Fields(c.args)...)
			if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) ||
				(c.stdout == "") != (stdout == "") || (c.stderr == "") != (stderr == "") {
				t.Errorf("agent %s: exit %d\n%s%s", c.args, code, stdout, stderr)
			}
			if c.code == 2 && strings.Count(stderr, "\n") != 1 {
				t.Errorf("a usage error of several lines: %s", stderr)
			}
		})
	}
}
