package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// child is one running binary.
type child struct {
	cmd      *exec.Cmd
	lines    chan string
	expected atomic.Bool // its end is asked for
	gone     chan struct{}
	err      error // set before gone is closed
}

func start(name, path string, args []string, log io.Writer) (*child, error) {
	c := &child{cmd: exec.Command(path, args...), lines: make(chan string, 64), gone: make(chan struct{})}
	// An own process group: the terminal's Ctrl-C reaches the parent only, which
	// stops the children in order. They die with it, should it be killed.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if log != nil {
		c.cmd.Stderr = &prefixed{w: log, prefix: name + ": "}
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		scan(out, c.lines)
		err := c.cmd.Wait()
		if err == nil {
			err = errors.New("exit 0")
		}
		c.err = err
		close(c.gone)
	}()
	return c, nil
}

// line is the next line of the child's standard output.
func (c *child) line(ctx context.Context, within time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	select {
	case l, ok := <-c.lines:
		if !ok {
			<-c.gone
			return "", fmt.Errorf("it ended: %w", c.err)
		}
		return l, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// prefixed writes whole lines with a name before each; writers share w.
type prefixed struct {
	w      io.Writer
	prefix string
	mu     sync.Mutex
	part   []byte // guarded by mu
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.part = append(p.part, b...)
	for {
		i := -1
		for j, ch := range p.part {
			if ch == '\n' {
				i = j
				break
			}
		}
		if i < 0 {
			return len(b), nil
		}
		if _, err := fmt.Fprintf(p.w, "%s%s\n", p.prefix, p.part[:i]); err != nil {
			return 0, err
		}
		p.part = p.part[i+1:]
	}
}
