package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"trailmark/internal/device"
	"trailmark/internal/device/devicetest"
	"trailmark/statement"
)

func TestParseAddress(t *testing.T) {
	for s, want := range map[string]Address{
		"file:":           {Path: "/d/key.pem"},
		"file:/k/a.pem":   {Path: "/k/a.pem"},
		"tpm:/dev/tpmrm0": {Path: "/d/key.tpm.pem", tpm: "/dev/tpmrm0"},
		"tpm:unix:/run/s": {Path: "/d/key.tpm.pem", tpm: "unix:/run/s"},
	} {
		if got, err := ParseAddress(s, "/d"); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "file", "file:key.pem", "tpm:", "tpm:unix:", "tpm:unix:sock", "tpm:tcp:1", "pkcs11:x", "/k"} {
		if _, err := ParseAddress(s, "/d"); err == nil || !strings.Contains(err.Error(), "tpm:/dev/tpmrm0") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestAddressInEpoch(t *testing.T) {
	for path, want := range map[string]string{
		"/d/key.pem": "/d/key-3.pem", "/d/key.tpm.pem": "/d/key-3.tpm.pem", "/d.x/key": "/d.x/key-3",
	} {
		a := Address{Path: path, tpm: "/dev/tpmrm0"}
		if got := a.In(3); got.Path != want || got.tpm != a.tpm || a.In(0) != a {
			t.Errorf("%s: %+v", path, got)
		}
	}
	for _, x := range []struct {
		a, b     string
		excludes bool
		shown    string
	}{
		{"tpm:unix:/s", "tpm:unix:/s", true, "tpm:unix:/s"},
		{"tpm:unix:/s", "tpm:unix:/z", false, "tpm:unix:/s"},
		{"tpm:/dev/tpmrm0", "tpm:/dev/tpmrm0", false, "tpm:/dev/tpmrm0"},
		{"file:", "file:", false, "file:/d/key.pem"},
	} {
		a, err := ParseAddress(x.a, "/d")
		if err != nil {
			t.Fatal(err)
		}
		b, err := ParseAddress(x.b, "/d")
		if err != nil {
			t.Fatal(err)
		}
		if a.Excludes(b) != x.excludes || a.String() != x.shown {
			t.Errorf("%s and %s: excludes %v; shown as %s", x.a, x.b, !x.excludes, a)
		}
	}
}

// TestDestroy: nothing of the key is left, nor where a hard link would keep it.
func TestDestroy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := open(t, Default, dir); err != nil {
		t.Fatal(err)
	}
	a, err := ParseAddress(Default, dir)
	if err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(t.TempDir(), "link")
	if err := os.Link(a.Path, kept); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to do
		if err := a.Destroy(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(a.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if data, err := os.ReadFile(kept); err != nil || len(data) == 0 || strings.Trim(string(data), "\x00") != "" {
		t.Errorf("%q, %v", data, err)
	}
	// Another file behind a link is not ours.
	if err := os.Symlink(kept, a.Path); err != nil {
		t.Fatal(err)
	}
	if err := a.Destroy(); err == nil {
		t.Error("followed a link")
	}
}

func open(t testing.TB, address, dir string) (Key, error) {
	t.Helper()
	a, err := ParseAddress(address, dir)
	if err != nil {
		t.Fatal(err)
	}
	return a.Open()
}

func TestFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for range 2 {
		k, err := open(t, Default, dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := k.Public().(ed25519.PublicKey); !ok {
			t.Errorf("key is %T", k.Public())
		}
		signs(t, k)
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
}

// signs makes a statement that verifies.
func signs(t testing.TB, k crypto.Signer) statement.Hash {
	t.Helper()
	s, err := statement.NewSigner(k)
	if err != nil {
		t.Fatal(err)
	}
	made, err := s.Sign(statement.Header{Issuer: "urn:dev:test", Audience: "demo/test", Kind: statement.KindIdentity}, []byte{0xa0})
	if err != nil {
		t.Error(err)
		return statement.Hash{}
	}
	read, err := statement.Parse(made.Bytes())
	if err == nil {
		err = read.Verify(s.Key(), "demo/test")
	}
	if err != nil {
		t.Error(err)
	}
	return s.Key().ID()
}

// A chip is a TPM in a process of its own; its state outlives that.
type chip struct {
	t      testing.TB
	dir    string
	socket string
	cmd    *exec.Cmd
}

func newChip(t testing.TB) *chip {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Skip("no swtpm: apt-get install swtpm")
	}
	dir, err := os.MkdirTemp("", "tpm-") // a socket's path may have 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	c := &chip{t: t, dir: dir, socket: filepath.Join(dir, "sock")}
	t.Cleanup(func() {
		c.stop()
		os.RemoveAll(dir)
	})
	c.start()
	return c
}

func (c *chip) address() string { return "tpm:unix:" + c.socket }

func (c *chip) start() {
	c.t.Helper()
	c.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+c.dir, "--server", "type=unixio,path="+c.socket, "--flags", "not-need-init,startup-clear")
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	for range 500 {
		if conn, err := net.Dial("unix", c.socket); err == nil {
			conn.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatal("swtpm does not listen")
}

func (c *chip) stop() {
	if c.cmd == nil {
		return
	}
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	_ = os.Remove(c.socket)
	c.cmd = nil
}

func TestTPM(t *testing.T) {
	c := newChip(t)
	dir := filepath.Join(t.TempDir(), "data")
	k, err := open(t, c.address(), dir)
	if err != nil {
		t.Fatal(err)
	}
	kid := signs(t, k)
	// Many at once; half of what a TPM makes has an s over n/2.
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				signs(t, k)
			}
		})
	}
	wg.Wait()
	if info, err := os.Stat(filepath.Join(dir, tpmName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// Opened again and again it is the same key, and takes no place for ever.
	for range 5 {
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		if k, err = open(t, c.address(), dir); err != nil {
			t.Fatal(err)
		}
		if signs(t, k) != kid {
			t.Fatal("another key")
		}
	}
	// The TPM and its resource manager are restarted under the agent.
	c.stop()
	if _, err := k.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err == nil || !strings.Contains(err.Error(), "hint:") {
		t.Errorf("without a TPM: %v", err)
	}
	for range 3 {
		c.stop()
		c.start()
		if signs(t, k) != kid {
			t.Fatal("another key after a restart")
		}
	}
	// It comes back while a frame waits to be signed.
	c.stop()
	signed := make(chan error, 1)
	go func() {
		_, err := k.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
		signed <- err
	}()
	time.Sleep(300 * time.Millisecond) // shorter than Sign's patience
	c.start()
	if err := <-signed; err != nil {
		t.Error(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	signs(t, k) // a closed key opens itself
	k.Close()
	if _, err := k.Sign(rand.Reader, make([]byte, 64), crypto.SHA512); err == nil {
		t.Error("it signs what is no SHA-256 digest")
	}
	sum := sha512.Sum512(nil)
	if _, err := k.Sign(rand.Reader, sum[:], crypto.SHA256); err == nil {
		t.Error("it signs a digest of 64 bytes")
	}
}

// TestTPMKeepsItsKey: the key was made in the TPM, is bound to it and to its
// parent, signs and does nothing else.
func TestTPMKeepsItsKey(t *testing.T) {
	c := newChip(t)
	dir := filepath.Join(t.TempDir(), "data")
	k, err := open(t, c.address(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	tk := k.(*tpmKey)
	r, err := tpm2.ReadPublic{ObjectHandle: tk.handle.Handle}.Execute(tk.tpm)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := r.OutPublic.Contents()
	if err != nil {
		t.Fatal(err)
	}
	if a := pub.ObjectAttributes; !a.FixedTPM || !a.FixedParent || !a.SensitiveDataOrigin || !a.SignEncrypt || a.Decrypt || a.EncryptedDuplication {
		t.Errorf("attributes %+v", a)
	}
	if _, err := (tpm2.Duplicate{ObjectHandle: tk.handle, NewParentHandle: tpm2.TPMRHNull, Symmetric: tpm2.TPMTSymDef{Algorithm: tpm2.TPMAlgNull}}).Execute(tk.tpm); err == nil {
		t.Error("the TPM gave the key away")
	}
	// What the card holds is of no use elsewhere.
	other := newChip(t)
	if _, err := open(t, other.address(), dir); err == nil || !strings.Contains(err.Error(), "made in another TPM") {
		t.Errorf("in another TPM: %v", err)
	}
}

// TestTPMEnrols takes a key of a TPM from a claim to a renewed certificate: the
// request, the connections and a statement are signed by it.
func TestTPMEnrols(t *testing.T) {
	c, g := newChip(t), devicetest.New(t)
	k, err := open(t, c.address(), filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	e, err := device.Enrol(t.Context(), g.Claim, k, "pi", device.Report{})
	if err != nil {
		t.Fatal(err)
	}
	if e.Identity.Key.ID() != signs(t, k) {
		t.Error("identity of another key")
	}
	c.stop()
	c.start()
	if e, err = e.Renew(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	next, err := open(t, c.address(), filepath.Join(t.TempDir(), "next"))
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if e, err = e.Rotate(t.Context(), k, next, device.Report{}); err != nil || e.Identity.Epoch != 1 {
		t.Error(err)
	}
}

func TestTPMRefuses(t *testing.T) {
	c := newChip(t)
	made := filepath.Join(t.TempDir(), "data")
	k, err := open(t, c.address(), made)
	if err != nil {
		t.Fatal(err)
	}
	k.Close()
	good, err := os.ReadFile(filepath.Join(made, tpmName))
	if err != nil {
		t.Fatal(err)
	}
	b, err := parseBlob(good)
	if err != nil {
		t.Fatal(err)
	}
	private := append([]byte(nil), b.Private...)
	private[len(private)/2] ^= 1
	spoiled, err := blob{b.Public, private}.encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]struct {
		data []byte
		mode os.FileMode
		want string
	}{
		"empty":           {nil, 0o600, "in PEM"},
		"of another kind": {[]byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"), 0o600, "in PEM"},
		"twice":           {append(append([]byte(nil), good...), good...), 0o600, "in PEM"},
		"cut short":       {good[:len(good)/2], 0o600, "in PEM"},
		"a bit flipped":   {spoiled, 0o600, "made in another TPM"},
		"too long":        {append(append([]byte(nil), good...), make([]byte, maxBlob)...), 0o600, "over 4096"},
		"others write":    {good, 0o666, "only its owner may write"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, tpmName)
			if err := errors.Join(os.WriteFile(path, f.data, 0o600), os.Chmod(path, f.mode)); err != nil {
				t.Fatal(err)
			}
			if _, err := open(t, c.address(), dir); err == nil || !strings.Contains(err.Error(), f.want) || !strings.Contains(err.Error(), "hint:") {
				t.Errorf("%v, want %q", err, f.want)
			}
			if left, err := os.ReadFile(path); err != nil || string(left) != string(f.data) {
				t.Error("the file was changed")
			}
		})
	}
	for _, address := range []string{"tpm:/nowhere/tpm0", "tpm:unix:/nowhere/sock", "tpm:" + filepath.Join(made, tpmName)} {
		if _, err := open(t, address, t.TempDir()); err == nil || !strings.Contains(err.Error(), "hint: is there a TPM") {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := readBlob(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func FuzzParseBlob(f *testing.F) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	point, err := ec.PublicKey.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	pub := tpm2.New2B(tpm2.TPMTPublic{Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: signing.ObjectAttributes, Parameters: signing.Parameters,
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]}})})
	seed, err := blob{tpm2.Marshal(pub), []byte{0, 1, 2}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	if _, err := parseBlob(seed); err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := parseBlob(data)
		if err != nil {
			return
		}
		k, err := b.public()
		if err == nil {
			_, err = k.Bytes() // fails off the curve
		}
		if err != nil {
			t.Errorf("taken without a key: %v", err)
		}
	})
}

func BenchmarkTPMSign(b *testing.B) {
	c := newChip(b)
	k, err := open(b, c.address(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	for b.Loop() {
		digest := sha256.Sum256([]byte(fmt.Sprint(b.N)))
		sig, err := k.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil || !ecdsa.VerifyASN1(k.Public().(*ecdsa.PublicKey), digest[:], sig) {
			b.Fatal(err)
		}
	}
}
