package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"trailmark/agent/internal/keys"
)

const (
	followEvery = 200 * time.Millisecond
	// absent is how long no agent may run before nobody is waited for any more:
	// systemd starts one anew after 5 s.
	absent = 15 * time.Second
	// silent is how long a request may be gone without a word of what became of it.
	silent = 5 * time.Second
)

// Rotate asks the agent that runs on a data folder for another key, at the address
// key ("": where the present one is), and writes to w what becomes of that. It
// returns nil once a frame by the new key is in the ledger. The agent does not need
// whoever asked: the end of ctx, or of wait, ends nothing but the words.
func Rotate(ctx context.Context, dir, key string, wait time.Duration, w io.Writer) error {
	if key != "" {
		if _, err := keys.ParseAddress(key, dir); err != nil {
			return err
		}
	}
	if _, err := os.ReadDir(dir); errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w\nhint: run this as the agent's user: sudo -u trailmark-agent trailmark-agent rotate", err)
	}
	if !held(dir) {
		return fmt.Errorf("no agent runs on %s\nhint: start it with systemctl start trailmark-agent, or agent run --dir %s", dir, dir)
	}
	if _, err := os.Stat(filepath.Join(dir, enrolmentName)); err != nil {
		return fmt.Errorf("this device is not enrolled yet: %w\nhint: its log says what the agent waits for", err)
	}
	from, err := presentEpoch(dir)
	if err != nil {
		return err
	}
	r := request{ID: rand.Text(), Epoch: from + 1, Key: key, Asked: time.Now().UTC().Truncate(time.Second)}
	if err := ask(dir, r); errors.Is(err, os.ErrExist) {
		return underWay(dir)
	} else if err != nil {
		return err
	}
	f := follower{dir: dir, r: r, w: w}
	return f.follow(ctx, wait)
}

// underWay says that another request is there.
func underWay(dir string) error {
	said := "the agent has not said anything of it yet"
	if s, err := readStatus(dir); err == nil && s.Rotation != nil {
		said = s.Rotation.words()
	}
	return fmt.Errorf("a rotation was asked for already: %s\nhint: agent status shows how it goes on", said)
}

// ask puts a request into a data folder, whole and only where none is; it survives
// loss of power when ask returns nil. It belongs to whom the folder does: people
// ask as root.
func ask(dir string, r request) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	folder, err := os.Stat(dir)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, requestName+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if st, ok := folder.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		err = f.Chown(int(st.Uid), int(st.Gid))
	}
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), filepath.Join(dir, requestName)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// follower tells what becomes of a request.
type follower struct {
	dir string
	r   request
	w   io.Writer

	last string    // line
	gone time.Time // since when no agent runs; zero: one does
	mute time.Time // since when the request is gone and nothing is said of it
}

func (f *follower) follow(ctx context.Context, wait time.Duration) error {
	end := time.After(wait)
	for {
		if over, err := f.look(); over {
			return err
		}
		select {
		case <-time.After(followEvery):
		case <-end:
			return f.left(fmt.Sprintf("not over after %v", wait))
		case <-ctx.Done():
			return f.left("interrupted")
		}
	}
}

// left is the error of whoever stops looking.
func (f *follower) left(why string) error {
	if f.last == "" {
		return fmt.Errorf("%s, and the agent has not taken the request up; it will if it can\nhint: an agent of an older version cannot: restart it", why)
	}
	return fmt.Errorf("%s at: %s; the rotation goes on without this command\nhint: agent status shows how", why, f.last)
}

func (f *follower) say(line string) {
	if line != f.last {
		f.last = line
		fmt.Fprintln(f.w, line)
	}
}

// look reads the agent's status once and reports whether the rotation is over.
func (f *follower) look() (over bool, err error) {
	epoch, err := presentEpoch(f.dir)
	if err != nil {
		return false, nil // read between two writes, or spoiled: the agent says so
	}
	s, _ := readStatus(f.dir) // as above
	switch {
	case epoch >= f.r.Epoch && s.Epoch >= f.r.Epoch && s.Receipted > 0:
		f.say(fmt.Sprintf("key %.8s at %s signs in epoch %d, and its first frame is in the ledger", s.Key, s.KeyAt, s.Epoch))
		return true, nil
	case epoch >= f.r.Epoch:
		f.say(fmt.Sprintf("epoch %d begins", epoch))
	case s.Rotation != nil && s.Rotation.Failed && s.Rotation.ID == f.r.ID:
		return true, fmt.Errorf("nothing has changed: %s", s.Rotation.State)
	case s.Rotation != nil && s.Rotation.ID == f.r.ID:
		f.say(s.Rotation.State)
		f.mute = time.Time{}
	default:
		if _, err := readRequest(f.dir); errors.Is(err, os.ErrNotExist) && f.since(&f.mute) > silent {
			return true, errors.New("the agent dropped the request\nhint: its log says why: journalctl -u trailmark-agent")
		}
	}
	if held(f.dir) {
		f.gone = time.Time{}
	} else if f.since(&f.gone) > absent {
		return true, fmt.Errorf("the agent ended at: %s; it goes on with the rotation when it is started\nhint: systemctl start trailmark-agent", f.last)
	}
	return false, nil
}

// since is how long ago t was set, which it is now if it never was.
func (f *follower) since(t *time.Time) time.Duration {
	if t.IsZero() {
		*t = time.Now()
	}
	return time.Since(*t)
}
