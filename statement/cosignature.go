package statement

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
)

// Bounds of a cosignature.
const (
	algCosignature  = 4                   // C2SP tlog-cosignature, Ed25519
	cosignatureSize = 8 + 64              // time and signature
	MaxCosigned     = 281_474_976_710     // seconds: their milliseconds are below 2^48
	maxWitnessName  = 256                 // bytes
	deviceWitness   = "trailmark/device/" // before a device's kid
)

// ErrNotEd25519 says that a key cannot make cosignature/v1.
var ErrNotEd25519 = errors.New("cosignature/v1 is of Ed25519 keys only")

// A Witness is a key and the name that it cosigns checkpoints under.
type Witness struct {
	Name string
	Key  Key
}

// NewWitness checks that the name is one that a note can carry, and that the key
// can cosign.
func NewWitness(name string, key Key) (Witness, error) {
	if len(name) > maxWitnessName || !validNoteName(name) {
		return Witness{}, fmt.Errorf("witness name %q is not 1 to %d bytes without spaces and plus signs", name, maxWitnessName)
	}
	if key.alg != EdDSA {
		return Witness{}, fmt.Errorf("witness %q: %w", name, ErrNotEd25519)
	}
	return Witness{name, key}, nil
}

// DeviceWitnessName is the name that the device with the key of this id cosigns
// under.
func DeviceWitnessName(kid Hash) string { return deviceWitness + kid.String() }

// DeviceOf is the id of the key that a device's name as a witness has in it.
func DeviceOf(name string) (kid Hash, ok bool) {
	digits, ok := strings.CutPrefix(name, deviceWitness)
	if !ok {
		return kid, false
	}
	n, err := hex.Decode(kid[:], append(make([]byte, 0, 64), digits[:min(len(digits), 64)]...))
	return kid, err == nil && n == len(kid) && name == DeviceWitnessName(kid)
}

// DeviceWitness is the witness that the device with this key is.
func DeviceWitness(key Key) (Witness, error) { return NewWitness(DeviceWitnessName(key.ID()), key) }

// validNoteName is the form of key names in signed notes.
func validNoteName(name string) bool {
	return name != "" && utf8.ValidString(name) && strings.IndexFunc(name, unicode.IsSpace) < 0 && !strings.Contains(name, "+")
}

// id is the key id in the witness's signature lines.
func (w Witness) id() uint32 {
	sum := sha256.Sum256(append([]byte(w.Name+"\n"), append([]byte{algCosignature}, w.Key.edBytes()...)...))
	return binary.BigEndian.Uint32(sum[:])
}

// A Cosignature is a signature line of a checkpoint beside the log's. Who made it
// is not known before it is verified.
type Cosignature struct {
	Name string
	id   uint32
	raw  []byte // what follows the key id
}

// By reports whether the line names a witness's name and key. It says nothing of
// the signature.
func (s Cosignature) By(w Witness) bool { return s.Name == w.Name && s.id == w.id() }

// line is the signature line in its one form.
func (s Cosignature) line() string {
	return "— " + s.Name + " " + base64.StdEncoding.EncodeToString(append(binary.BigEndian.AppendUint32(nil, s.id), s.raw...)) + "\n"
}

// Cosignatures are the lines beside the log's, in the note's order; of lines that
// are the same byte for byte only the first.
func (c Checkpoint) Cosignatures() []Cosignature { return c.cosignatures }

// Bare is the note with the log's signature alone.
func (c Checkpoint) Bare() []byte { return []byte(c.text + "\n" + c.logLine) }

func signatureLine(s note.Signature) string { return "— " + s.Name + " " + s.Base64 + "\n" }

// cosignaturesOf reads the lines that are not the log's.
func cosignaturesOf(sigs []note.Signature) []Cosignature {
	var out []Cosignature
	for _, s := range sigs {
		raw, err := base64.StdEncoding.DecodeString(s.Base64)
		if err != nil || len(raw) < 4 {
			continue // note.Open takes no such line
		}
		out = append(out, Cosignature{s.Name, s.Hash, raw[4:]})
	}
	return out
}

// VerifyCosignature checks a line that is by w, and returns its time in Unix
// seconds.
func (c Checkpoint) VerifyCosignature(s Cosignature, w Witness) (int64, error) {
	if !s.By(w) {
		return 0, fmt.Errorf("cosignature of %q is not by witness %q", s.Name, w.Name)
	}
	if len(s.raw) != cosignatureSize {
		return 0, fmt.Errorf("cosignature of %q has %d bytes, want %d", s.Name, len(s.raw), cosignatureSize)
	}
	at := binary.BigEndian.Uint64(s.raw)
	if at < 1 || at > MaxCosigned {
		return 0, fmt.Errorf("cosignature of %q at %d s, want 1 to %d", s.Name, at, int64(MaxCosigned))
	}
	if err := w.Key.verify(EdDSA, cosignatureText(int64(at), c.text), s.raw[8:]); err != nil {
		return 0, fmt.Errorf("cosignature of %q: %w", s.Name, err)
	}
	return int64(at), nil
}

// cosignatureText is what a witness signs.
func cosignatureText(at int64, text string) []byte {
	return []byte("cosignature/v1\ntime " + strconv.FormatInt(at, 10) + "\n" + text)
}

// Cosign signs a checkpoint as the witness that a device with this key is, at a
// time in Unix seconds, and returns the signature line. Whoever calls it answers
// for the promise that it makes: that of this ledger the signer has seen nothing
// larger, and nothing that is not a prefix.
func (s *Signer) Cosign(c Checkpoint, at int64) ([]byte, error) {
	w, err := DeviceWitness(s.key)
	if err != nil {
		return nil, err
	}
	if at < 1 || at > MaxCosigned {
		return nil, fmt.Errorf("cosigning at %d s, want 1 to %d", at, int64(MaxCosigned))
	}
	sig, err := s.sign(cosignatureText(at, c.text))
	if err != nil {
		return nil, err
	}
	return []byte(Cosignature{w.Name, w.id(), append(binary.BigEndian.AppendUint64(nil, uint64(at)), sig...)}.line()), nil
}

// VerifyCosignatureLine checks a signature line in its one form that w made of a
// ledger's head, and returns its time. Whether the log signed that head is not
// looked at.
func VerifyCosignatureLine(origin string, size uint64, root Hash, line []byte, w Witness) (int64, error) {
	name, b64, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(string(line), "— "), "\n"), " ")
	raw, err := base64.StdEncoding.DecodeString(b64)
	if !ok || err != nil || len(raw) < 4 {
		return 0, errors.New("not a signature line")
	}
	s := Cosignature{name, binary.BigEndian.Uint32(raw), raw[4:]}
	if s.line() != string(line) {
		return 0, errors.New("signature line is not written in its one form")
	}
	c := Checkpoint{text: string(log.Checkpoint{Origin: origin, Size: size, Hash: root[:]}.Marshal())}
	return c.VerifyCosignature(s, w)
}

// WithCosignature adds a line that w made to the note and returns its time; it
// takes the line in its one form only. The log's key is that of OpenCheckpoint.
func (c Checkpoint) WithCosignature(line []byte, w Witness, logKey Key) (Checkpoint, int64, error) {
	more, err := OpenCheckpoint(append(append([]byte(nil), c.Note...), line...), c.Origin, logKey)
	if err != nil {
		return Checkpoint{}, 0, err
	}
	if n := len(more.cosignatures); n != len(c.cosignatures)+1 || more.cosignatures[n-1].line() != string(line) {
		return Checkpoint{}, 0, errors.New("cosignature is not one further signature line")
	}
	at, err := more.VerifyCosignature(more.cosignatures[len(c.cosignatures)], w)
	return more, at, err
}
