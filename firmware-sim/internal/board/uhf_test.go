package board

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trailmark/firmware-sim/reader"
	"trailmark/internal/llrp"
	"trailmark/internal/r200"
)

// A line is the command's end of a serial port.
type line struct {
	*testing.T
	f *os.File
	r *r200.Reader
}

// ask sends a command and returns the next answer to it, or false after a while.
func (l line) ask(code r200.Code, params ...byte) (r200.Frame, bool) {
	l.Helper()
	if err := r200.WriteFrame(l.f, r200.Frame{Kind: r200.Command, Code: code, Params: params}); err != nil {
		l.Fatal(err)
	}
	if err := l.f.SetReadDeadline(time.Now().Add(2 * replug)); err != nil {
		l.Fatal(err)
	}
	f, err := l.r.Next()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return f, false
	}
	if err != nil {
		l.Fatal(err)
	}
	return f, true
}

// A module behind a terminal hears the tags in its field, is silent while it is
// unplugged, and has its factory's settings after that and after a brown-out.
func TestR200(t *testing.T) {
	b := mustBoard(t, small)
	term, err := openTerminal(b.ports[1].model)
	if err != nil {
		t.Fatal(err)
	}
	defer term.close()
	f, err := os.OpenFile(term.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := line{t, f, r200.NewReader(f)}
	do := func(part, word string) {
		t.Helper()
		if err := b.Do(Action{part, word}); err != nil {
			t.Fatal(err)
		}
	}
	if a, ok := l.ask(r200.Poll); !ok || a.Code != r200.Failed || a.Params[0] != byte(r200.NoTag) {
		t.Errorf("an empty field: %+v, %v", a, ok)
	}
	do("crate", "enter")
	a, ok := l.ask(r200.Poll)
	if tag, err := r200.DecodeTag(a.Params); !ok || a.Kind != r200.Notice || err != nil || fmt.Sprintf("%x", tag.EPC) != "30750000000000000000ab01" || tag.RSSI != usual {
		t.Errorf("a tag in the field: %+v, %v, %v", a, ok, err)
	}
	for _, fault := range []string{"brownout", "gone"} {
		if a, ok := l.ask(r200.SetPower, r200.EncodePower(2600)...); !ok || a.Code != r200.SetPower {
			t.Fatalf("set power: %+v, %v", a, ok)
		}
		do("ttyUSB1", fault)
		if fault == "gone" {
			if a, ok := l.ask(r200.GetPower); ok {
				t.Errorf("unplugged, it answers %+v", a)
			}
			do("ttyUSB1", "none")
		}
		var a r200.Frame
		answered := false
		for late := time.Now().Add(10 * time.Second); !answered && time.Now().Before(late); {
			a, answered = l.ask(r200.GetPower)
		}
		if power, err := r200.DecodePower(a.Params); !answered || err != nil || power != 2000 {
			t.Errorf("power after %s: %d, %v, %+v", fault, power, err, a)
		}
	}
	do("crate", "leave")
	if a, ok := l.ask(r200.Poll); !ok || a.Code != r200.Failed {
		t.Errorf("a field that was left: %+v, %v", a, ok)
	}
}

// A reader on the network is at its address, shows its certificate, and fails when
// it is told to.
func TestLLRP(t *testing.T) {
	dir := t.TempDir()
	certificate, err := reader.SelfSigned("dock")
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, p := range []pem.Block{{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}, {Type: "PRIVATE KEY", Bytes: key}} {
		if err := pem.Encode(&text, &p); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "dock.pem")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	b := mustBoard(t, strings.Replace(small, `listen: "127.0.77.1:5084"`, `listen: "127.0.77.2:5085", certificate: `+file, 1))
	at := fmt.Sprintf("tls 127.0.77.2:5085 sha256:%x", sha256.Sum256(certificate.Certificate[0]))
	if got := b.chips[len(b.chips)-1]; got != (Chip{"dock", "llrp", at}) {
		t.Errorf("announced as %+v, want at %s", got, at)
	}
	do := func(word string) {
		t.Helper()
		if err := b.Do(Action{"dock", word}); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := b.readers[0].open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.readers[0].open(); err == nil || !strings.Contains(err.Error(), "hint: another board") {
		t.Errorf("a port that is taken: %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- b.readers[0].server.Serve(t.Context(), ln) }()
	t.Cleanup(func() {
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	// dial returns a connection that the reader took: it may not have seen yet that
	// the last client went, and refuses the next one till then.
	dial := func() (net.Conn, time.Duration) {
		t.Helper()
		for late := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			conn, err := tls.Dial("tcp", "127.0.77.2:5085", &tls.Config{InsecureSkipVerify: true}) // compared below
			if err != nil {
				t.Fatal(err)
			}
			if got := conn.ConnectionState().PeerCertificates[0].Raw; !bytes.Equal(got, certificate.Certificate[0]) {
				t.Errorf("certificate % x", got)
			}
			if err := conn.SetDeadline(late); err != nil {
				t.Fatal(err)
			}
			m, err := llrp.ReadMessage(conn, llrp.MaxMessage)
			if err != nil {
				t.Fatal(err)
			}
			e, err := llrp.DecodeEvent(m.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if e.Attempt != nil && *e.Attempt == llrp.Connected {
				return conn, time.Until(time.UnixMicro(int64(e.Time)))
			}
			conn.Close()
		}
	}
	conn, ahead := dial()
	if ahead.Abs() > time.Minute {
		t.Errorf("the reader's clock is %v ahead", ahead)
	}
	do("drop")
	if _, err := llrp.ReadMessage(conn, llrp.MaxMessage); err == nil {
		t.Error("a dropped connection still speaks")
	}
	conn.Close()
	do("skew=-1h")
	if conn, ahead = dial(); (ahead + time.Hour).Abs() > time.Minute {
		t.Errorf("the reader's clock is %v ahead, want -1h", ahead)
	}
	do("hang")
	if err := llrp.WriteMessage(conn, llrp.Message{Version: llrp.Version, Type: llrp.GetReaderCapabilities, ID: 7, Payload: []byte{0}}); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if m, err := llrp.ReadMessage(conn, llrp.MaxMessage); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a hung reader says %v, %v", m.Type, err)
	}
	conn.Close()
	do("loose=4")
	do("none")
	conn, ahead = dial()
	defer conn.Close()
	if ahead.Abs() > time.Minute {
		t.Errorf("mended, the reader's clock is %v ahead", ahead)
	}
}
