package statement

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"

	"trailmark/internal/dcbor"
)

// A Checkpoint is a ledger's head whose log signature was verified.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   Hash
	Note   []byte // the signed text

	text         string // what is signed
	logLine      string // of the log's signature
	cosignatures []Cosignature
}

// MaxCheckpoint bounds a signed note with its cosignatures, in bytes.
const MaxCheckpoint = 64 << 10

// OpenCheckpoint verifies a C2SP tlog-checkpoint against the log key pinned for
// its origin.
func OpenCheckpoint(text []byte, origin string, logKey Key) (Checkpoint, error) {
	if len(text) > MaxCheckpoint {
		return Checkpoint{}, fmt.Errorf("checkpoint of %d bytes is over the limit of %d", len(text), MaxCheckpoint)
	}
	v, err := LogVerifier(origin, logKey)
	if err != nil {
		return Checkpoint{}, err
	}
	c, _, n, err := log.ParseCheckpoint(text, origin, v)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	if len(c.Hash) != 32 || c.Size > MaxUint {
		return Checkpoint{}, errors.New("checkpoint out of bounds")
	}
	return Checkpoint{Origin: origin, Size: c.Size, Root: Hash(c.Hash), Note: text, text: n.Text, logLine: signatureLine(n.Sigs[0]), cosignatures: cosignaturesOf(n.UnverifiedSigs)}, nil
}

// LogVerifier is the note verifier of a ledger's key.
func LogVerifier(origin string, logKey Key) (note.Verifier, error) {
	pub, ok := logKey.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("log key is not Ed25519")
	}
	vkey, err := note.NewEd25519VerifierKey(origin, pub)
	if err != nil {
		return nil, fmt.Errorf("log key of origin %q: %w", origin, err)
	}
	return note.NewVerifier(vkey)
}

// A Receipt is a COSE Receipt (RFC 9942, RFC 9162 SHA-256 profile): the proof
// that a ledger entry is in the tree whose root the log signed.
type Receipt struct {
	Origin string
	Issued int64 // Unix seconds
	Size   uint64
	Index  uint64
	Path   []Hash

	protected, signature []byte
	kid                  Hash
}

type receiptProtected struct {
	Alg    int64         `cbor:"1,keyasint"`
	Kid    Hash          `cbor:"4,keyasint"`
	Claims receiptClaims `cbor:"15,keyasint"`
	VDS    int64         `cbor:"395,keyasint"`
}

type receiptClaims struct {
	Iss string `cbor:"1,keyasint"`
	Iat int64  `cbor:"6,keyasint"`
}

type receiptUnprotected struct {
	Proofs struct {
		Inclusion [][]byte `cbor:"-1,keyasint"`
	} `cbor:"396,keyasint"`
}

type inclusion struct {
	_           struct{} `cbor:",toarray"`
	Size, Index uint64
	Path        []Hash
}

const vdsRFC9162 = 1

// A RootSignature is the part of a COSE Receipt that does not depend on the
// statement: one serves every entry of the tree.
type RootSignature struct {
	_         struct{} `cbor:",toarray"`
	Protected []byte   // encoded header
	Signature []byte
}

// SignRoot signs the root of a ledger, at a time in Unix seconds, for receipts.
func (s *Signer) SignRoot(origin string, issued int64, root Hash) (RootSignature, error) {
	if s.key.alg != EdDSA {
		return RootSignature{}, errors.New("log key is not Ed25519")
	}
	protected := dcbor.MustMarshal(receiptProtected{s.key.alg, s.key.id, receiptClaims{origin, issued}, vdsRFC9162})
	sig, err := s.sign(sigStructure(protected, root[:]))
	return RootSignature{Protected: protected, Signature: sig}, err
}

// Verify checks the signature against a checkpoint that the caller has opened
// with the same key.
func (r RootSignature) Verify(c Checkpoint, logKey Key) error {
	p, err := parseReceiptHeader(r.Protected)
	if err != nil {
		return err
	}
	if p.Kid != logKey.ID() {
		return fmt.Errorf("receipt names key %.8s…, not the log's %.8s…", p.Kid, logKey.ID())
	}
	if p.Claims.Iss != c.Origin {
		return fmt.Errorf("receipt is of %q, the checkpoint of %q", p.Claims.Iss, c.Origin)
	}
	if len(r.Signature) != 64 {
		return fmt.Errorf("receipt signature of %d bytes, want 64", len(r.Signature))
	}
	return logKey.verify(EdDSA, sigStructure(r.Protected, c.Root[:]), r.Signature)
}

// Receipt is the standalone COSE Receipt of the entry at index in the tree of
// size, with its RFC 9162 inclusion path.
func (r RootSignature) Receipt(size, index uint64, path []Hash) []byte {
	var u receiptUnprotected
	u.Proofs.Inclusion = [][]byte{dcbor.MustMarshal(inclusion{Size: size, Index: index, Path: path})}
	return append([]byte{signTag}, dcbor.MustMarshal(receiptEnvelope{Protected: r.Protected,
		Unprotected: dcbor.MustMarshal(u), Payload: cbor.RawMessage{0xf6}, Signature: r.Signature})...)
}

// SignReceipt makes the receipt of the entry at index in the tree of size with
// this root, issued at a time in Unix seconds.
func (s *Signer) SignReceipt(origin string, issued int64, size, index uint64, root Hash, path []Hash) ([]byte, error) {
	r, err := s.SignRoot(origin, issued, root)
	if err != nil {
		return nil, err
	}
	return r.Receipt(size, index, path), nil
}

func parseReceiptHeader(data []byte) (p receiptProtected, err error) {
	if err := dcbor.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("receipt header: %w", err)
	}
	if p.Alg != EdDSA {
		return p, fmt.Errorf("receipt of algorithm %d, want EdDSA", p.Alg)
	}
	if p.VDS != vdsRFC9162 {
		return p, errors.New("receipt is not of the RFC 9162 profile")
	}
	if !validText(p.Claims.Iss) || p.Claims.Iat < 0 || p.Claims.Iat > MaxUint {
		return p, errors.New("receipt out of bounds")
	}
	return p, nil
}

// ParseReceipt decodes a receipt in the one form that this project makes.
func ParseReceipt(data []byte) (*Receipt, error) {
	if len(data) == 0 || data[0] != signTag {
		return nil, errors.New("not a tagged COSE_Sign1")
	}
	var e receiptEnvelope
	if err := dcbor.Unmarshal(data[1:], &e); err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	if len(e.Payload) != 1 || e.Payload[0] != 0xf6 || len(e.Signature) != 64 {
		return nil, errors.New("receipt has a payload or a signature of the wrong size")
	}
	p, err := parseReceiptHeader(e.Protected)
	if err != nil {
		return nil, err
	}
	var u receiptUnprotected
	if err := dcbor.Unmarshal(e.Unprotected, &u); err != nil {
		return nil, fmt.Errorf("receipt proofs: %w", err)
	}
	if len(u.Proofs.Inclusion) != 1 {
		return nil, fmt.Errorf("receipt of %d inclusion proofs, want one", len(u.Proofs.Inclusion))
	}
	var inc inclusion
	if err := dcbor.Unmarshal(u.Proofs.Inclusion[0], &inc); err != nil {
		return nil, fmt.Errorf("receipt proof: %w", err)
	}
	if inc.Index >= inc.Size || inc.Size > MaxUint || len(inc.Path) > 64 {
		return nil, errors.New("receipt out of bounds")
	}
	return &Receipt{Origin: p.Claims.Iss, Issued: p.Claims.Iat, Size: inc.Size, Index: inc.Index, Path: inc.Path,
		protected: e.Protected, signature: e.Signature, kid: p.Kid}, nil
}

// receiptEnvelope keeps the payload raw: it is null, detached.
type receiptEnvelope struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected cbor.RawMessage
	Payload     cbor.RawMessage
	Signature   []byte
}

// Verify checks that the ledger entry is in the tree of the checkpoint, which
// the caller has opened with the same key.
func (r *Receipt) Verify(entry Hash, c Checkpoint, logKey Key) error {
	if r.kid != logKey.ID() {
		return fmt.Errorf("receipt names key %.8s…, not the log's %.8s…", r.kid, logKey.ID())
	}
	if r.Origin != c.Origin || r.Size != c.Size {
		return fmt.Errorf("receipt is of %q at size %d, the checkpoint of %q at %d", r.Origin, r.Size, c.Origin, c.Size)
	}
	root, err := proof.RootFromInclusionProof(rfc6962.DefaultHasher, r.Index, r.Size, rfc6962.DefaultHasher.HashLeaf(entry[:]), raw(r.Path))
	if err != nil {
		return fmt.Errorf("receipt: %w", err)
	}
	if Hash(root) != c.Root {
		return errors.New("receipt does not lead to the checkpoint's root")
	}
	return logKey.verify(EdDSA, sigStructure(r.protected, root), r.signature)
}
