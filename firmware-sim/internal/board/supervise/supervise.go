// Package supervise runs a command on devices of ours: in a mount namespace of
// its own some paths are files we put there, and a seccomp filter hands the ioctls
// on them to a chardev.Device in this process instead of to a driver. On request the
// filter hands over what asks for the wall clock as well, and a folder is a disk of
// limited size.
//
// It promises that the command is the binary as it is, found and started as the
// shell would; that no other process sees the files; that an ioctl the command
// makes of anything else goes to the kernel; that the kernel's own 1-Wire masters
// cannot be reached from it, as they would be by netlink; and that when the supervisor is gone
// the ioctls it answered fail with ENOSYS and hang nobody. It is no sandbox: the
// command can do what its user can do.
//
// A file that stands for a device only answers ioctls. Reading it yields nothing,
// writing it fails with ENOSPC.
//
// Requires Linux 5.19 (seccomp with WAIT_KILLABLE_RECV: an ioctl that a model has
// seen is not repeated because of a signal), amd64 or arm64 for us and the command,
// and root.
package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"trailmark/firmware-sim/internal/board/chardev"
	"trailmark/firmware-sim/internal/board/disk"
	"trailmark/firmware-sim/internal/board/hostclock"
)

// A Mount puts a file or a directory of this machine at another path.
type Mount struct {
	Source string `json:"source"` // absolute
	Target string `json:"target"` // absolute; made, and its parents, if missing
}

// A Command is what to run, and on what.
type Command struct {
	Args    []string                  // name and arguments
	Devices map[string]chardev.Device // by absolute path, /dev/i2c-1
	Mounts  []Mount
	Hide    []string         // patterns of names in /dev that the command shall not see, i2c-*
	Clock   *hostclock.Clock // what it takes for the machine's wall clock; nil: that is
	Disk    *disk.Disk       // what is mounted over a folder, or nil; the caller saves it after Wait
	// Ready is called when the devices are in place, before the command starts; or
	// nil. It may write to Stdout where two goroutines may, as to a file.
	Ready  func() error
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
}

// LaunchArg as first argument of this program means Launch: Start runs its own
// executable that way.
const LaunchArg = "internal-launch"

// plan is what the launcher is told.
type plan struct {
	Devices []string     `json:"devices"`
	Mounts  []Mount      `json:"mounts"`
	Hide    []string     `json:"hide"`
	Clock   bool         `json:"clock"`
	Disk    *disk.Config `json:"disk,omitempty"`
	Stage   string       `json:"stage"` // an empty folder
}

// answer is what the launcher says: with the filter's descriptor if all is well, or
// what failed; after that, only that the command could not be started.
type answer struct {
	Files map[string]fileID `json:"files,omitempty"`
	Error string            `json:"error,omitempty"`
}

// A Process is a command that runs. Wait must be called.
type Process struct {
	cmd    *exec.Cmd
	socket *os.File // to the launcher; ends when the command starts
	stage  string
	log    *slog.Logger
	served chan error
	cancel context.CancelFunc
}

// Start starts the command and answers its calls until it ends. When it returns
// nil the devices are in place and the command is about to run. Canceling ctx kills
// the command.
func Start(ctx context.Context, c Command, log *slog.Logger) (_ *Process, err error) {
	if err := supported(); err != nil {
		return nil, err
	}
	p := &Process{log: log, served: make(chan error, 1)}
	if p.stage, err = os.MkdirTemp("", "firmware-sim-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(p.stage))
		}
	}()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	p.socket = os.NewFile(uintptr(pair[0]), "launcher")
	theirs := os.NewFile(uintptr(pair[1]), "supervisor")
	defer theirs.Close()
	defer func() {
		if err != nil {
			err = errors.Join(err, p.socket.Close())
		}
	}()

	ctx, p.cancel = context.WithCancel(ctx)
	p.cmd = exec.CommandContext(ctx, "/proc/self/exe", append([]string{LaunchArg}, c.Args...)...)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	p.cmd.ExtraFiles = []*os.File{theirs}
	// A process group of its own: a terminal's Ctrl-C reaches the command once,
	// through us.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		p.cancel()
		return nil, hint(fmt.Errorf("start in a new mount namespace: %w", err))
	}
	theirs.Close()
	devices, err := p.handshake(c)
	if err != nil {
		p.cancel()
		_ = p.cmd.Wait() // err says more
		return nil, err
	}
	go func() { p.served <- devices.serve() }()
	if c.Ready != nil {
		err = c.Ready()
	}
	if err == nil {
		err = unix.Sendmsg(int(p.socket.Fd()), []byte(goAhead), nil, nil, unix.MSG_NOSIGNAL)
	}
	if err != nil {
		p.cancel()
		_ = p.cmd.Wait() // err says more
		<-p.served
		return nil, err
	}
	return p, nil
}

// handshake tells the launcher the plan and takes the filter's descriptor.
func (p *Process) handshake(c Command) (*listener, error) {
	told := plan{Mounts: c.Mounts, Hide: c.Hide, Clock: c.Clock != nil, Stage: p.stage}
	if c.Disk != nil {
		config := c.Disk.Config()
		told.Disk = &config
	}
	for path := range c.Devices {
		told.Devices = append(told.Devices, path)
	}
	b, err := json.Marshal(told)
	if err != nil {
		return nil, err
	}
	if err := unix.Sendmsg(int(p.socket.Fd()), b, nil, nil, unix.MSG_NOSIGNAL); err != nil {
		return nil, fmt.Errorf("tell the launcher: %w", err)
	}
	a, fds, err := receive(int(p.socket.Fd()))
	if err != nil {
		return nil, fmt.Errorf("launcher: %w", err)
	}
	want := 1
	if c.Disk != nil {
		want = 2
	}
	if len(fds) != want {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, fmt.Errorf("launcher: %d descriptors came, want the seccomp listener and the disk's root, %d", len(fds), want)
	}
	l := newListener(fds[0], c.Clock, p.log)
	if c.Disk != nil {
		c.Disk.Attach(os.NewFile(uintptr(fds[1]), "disk"))
	}
	for path, id := range a.Files {
		l.add(id, c.Devices[path])
	}
	return l, nil
}

// Pid is the process of the command.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal passes a signal on.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Wait returns when the command has ended and so have all it left behind that can
// still use the devices. The status is as a shell counts: 128 and the signal for one
// that was killed.
func (p *Process) Wait() (status int, err error) {
	defer p.cancel()
	// The socket ends when the command starts. A message says it does not.
	_, _, started := receive(int(p.socket.Fd()))
	if errors.Is(started, io.EOF) {
		started = nil
	}
	waited := p.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(waited, &exit) {
		waited = nil
	}
	err = errors.Join(started, waited, <-p.served, p.socket.Close(), os.Remove(p.stage))
	if ws := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal()), err
	}
	return p.cmd.ProcessState.ExitCode(), err
}

// receive returns the launcher's next message, with the descriptors in it.
// It fails with io.EOF when the launcher has become the command, and with what the
// launcher says went wrong.
func receive(socket int) (answer, []int, error) {
	var a answer
	b, control := make([]byte, maxPacket), make([]byte, unix.CmsgSpace(2*4))
	var n, nc int
	for {
		var err error
		if n, nc, _, _, err = unix.Recvmsg(socket, b, control, unix.MSG_CMSG_CLOEXEC); err == nil {
			break
		} else if err != unix.EINTR {
			return a, nil, err
		}
	}
	if n == 0 {
		return a, nil, io.EOF
	}
	if err := json.Unmarshal(b[:n], &a); err != nil {
		return a, nil, err
	}
	if a.Error != "" {
		return a, nil, errors.New(a.Error)
	}
	messages, err := unix.ParseSocketControlMessage(control[:nc])
	if err != nil {
		return a, nil, err
	}
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil {
			return a, fds, nil
		}
	}
	return a, nil, nil
}

// goAhead is what the supervisor says when the command may start.
const goAhead = "go"

// maxPacket is the longest message between supervisor and launcher, in bytes.
const maxPacket = 64 << 10

// supported says what is missing to run a command here.
func supported() error {
	if auditArch == 0 {
		return errors.New("chip models under a command need amd64 or arm64")
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("chip models under a command need root, this is user %d\nhint: run with sudo", os.Geteuid())
	}
	if err := checkSeccomp(); err != nil {
		return err
	}
	return nil
}

// hint adds what to do where the kernel refuses what root may do.
func hint(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w\nhint: a container needs the capability SYS_ADMIN and a seccomp profile that allows mount, unshare and seccomp", err)
	}
	return err
}

// lookPath is exec.LookPath with a path that does not depend on the folder.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}
