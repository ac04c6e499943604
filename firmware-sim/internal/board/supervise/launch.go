package supervise

import (
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// supervisor is the descriptor of the socket the launcher is started with.
const supervisor = 3

// Launch becomes the command: it is what a new process does between Start and the
// command's first instruction. It returns only if that fails: nil once the
// supervisor knows why.
func Launch(args []string) error {
	// A filter belongs to a thread, and the thread that executes the command
	// is the one that stays.
	runtime.LockOSThread()
	unix.CloseOnExec(supervisor)
	err := launch(args)
	b, e := json.Marshal(answer{Error: err.Error()})
	if e == nil {
		e = unix.Sendmsg(supervisor, b, nil, nil, unix.MSG_NOSIGNAL)
	}
	if errors.Is(e, unix.EBADF) || errors.Is(e, unix.ENOTSOCK) {
		return fmt.Errorf("%s is for firmware-sim itself: see firmware-sim --help", LaunchArg)
	}
	return e
}

func launch(args []string) error {
	if len(args) == 0 {
		return errors.New("no command to run")
	}
	var p plan
	b := make([]byte, maxPacket)
	n, _, err := unix.Recvfrom(supervisor, b, 0)
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if err := json.Unmarshal(b[:n], &p); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	path, err := lookPath(args[0])
	if err != nil {
		return err
	}
	if err := checkMachine(path); err != nil {
		return err
	}
	a := answer{}
	if a.Files, err = p.mount(); err != nil {
		return hint(err)
	}
	var rights []int // of the listener, then of the disk
	if p.Disk != nil {
		root, err := p.Disk.Mount(p.Stage)
		if err != nil {
			return hint(err)
		}
		defer root.Close() // unless the command starts: closed on exec
		rights = append(rights, int(root.Fd()))
	}
	if b, err = json.Marshal(a); err != nil {
		return err
	}
	listener, err := installFilter(p.Clock)
	if err != nil {
		return hint(err)
	}
	if err := unix.Sendmsg(supervisor, b, unix.UnixRights(append([]int{listener}, rights...)...), nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("hand over the seccomp listener: %w", err)
	}
	// The listener must die with the supervisor, so the command has none.
	if err := unix.Close(listener); err != nil {
		return err
	}
	word := make([]byte, len(goAhead))
	if n, _, err := unix.Recvfrom(supervisor, word, 0); err != nil || string(word[:n]) != goAhead {
		return fmt.Errorf("the supervisor is gone: %v", err)
	}
	return fmt.Errorf("%s: %w", args[0], unix.Exec(path, args, os.Environ()))
}

// checkMachine refuses a program of another machine, which the filter would kill.
// What is no ELF file, such as a script, the kernel judges.
func checkMachine(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	if want := elf.Machine(auditArch & 0xffff); f.Machine != want { // as in linux/audit.h
		return fmt.Errorf("%s is built for %v, want %v", path, f.Machine, want)
	}
	return nil
}
