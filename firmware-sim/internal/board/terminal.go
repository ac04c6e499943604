package board

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A terminal is a pseudo-terminal: the command has the end at path, a model the
// other.
type terminal struct {
	path   string
	master *os.File // the model's end
	slave  *os.File // kept open: without one the master reports an error, not silence
	done   chan struct{}
}

// openTerminal runs model, which reads what the command sends and writes what it
// shall receive, until close. The terminal starts raw, without echo, as the driver
// of a device that is no keyboard leaves it to its user.
func openTerminal(model func(*os.File)) (t *terminal, err error) {
	t = &terminal{done: make(chan struct{})}
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.master.Close())
		}
	}()
	t.master = os.NewFile(uintptr(fd), "/dev/ptmx")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlock the terminal: %w", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, fmt.Errorf("number of the terminal: %w", err)
	}
	t.path = fmt.Sprintf("/dev/pts/%d", n)
	if t.slave, err = os.OpenFile(t.path, os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, err
	}
	if err := raw(int(t.slave.Fd())); err != nil {
		return nil, errors.Join(err, t.slave.Close())
	}
	go func() {
		defer close(t.done)
		model(t.master)
	}()
	return t, nil
}

func (t *terminal) close() {
	// Neither end holds anything that could get lost.
	t.master.Close()
	t.slave.Close()
	<-t.done
}

// raw is cfmakeraw of termios(3).
func raw(fd int) error {
	v, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return fmt.Errorf("terminal settings: %w", err)
	}
	v.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	v.Oflag &^= unix.OPOST
	v.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	v.Cflag = v.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, v); err != nil {
		return fmt.Errorf("terminal settings: %w", err)
	}
	return nil
}

// loopback is a plug that joins TXD and RXD.
func loopback(port *os.File) {
	_, _ = io.Copy(struct{ io.Writer }{port}, struct{ io.Reader }{port}) // ends when the port is closed
}
