package statement_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"trailmark/internal/dcbor"
	"trailmark/statement"
)

// TestForeignReceipt verifies a receipt that another implementation made.
func TestForeignReceipt(t *testing.T) {
	dir := filepath.Join("..", "..", "shared", "data", "scitt", "valid-eddsa")
	receipt, err := os.ReadFile(filepath.Join(dir, "receipt.cose"))
	if err != nil {
		t.Skipf("no foreign receipt here: %v", err)
	}
	var expected struct {
		Entry string `json:"leaf_entry"`
		Index uint64 `json:"leaf_index"`
		Size  uint64 `json:"tree_size"`
		Root  string `json:"reconstructed_root"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &expected); err != nil {
		t.Fatal(err)
	}
	entry, err := hex.DecodeString(expected.Entry)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, "log-key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(file)
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, err := statement.NewKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	got, err := statement.VerifyForeignReceipt(receipt, entry, key)
	if err != nil {
		t.Fatal(err)
	}
	if got.Index != expected.Index || got.Size != expected.Size || got.Root.String() != expected.Root {
		t.Errorf("receipt says %+v, want %+v", got, expected)
	}
	if _, err := statement.ParseReceipt(receipt); err == nil {
		t.Error("our own strict form takes it, too")
	}
	for i := range receipt {
		bad := bytes.Clone(receipt)
		bad[i] ^= 1
		if _, err := statement.VerifyForeignReceipt(bad, entry, key); err == nil && i != 0 {
			t.Errorf("byte %d can be altered", i)
		}
	}
	if _, err := statement.VerifyForeignReceipt(receipt, entry[1:], key); err == nil {
		t.Error("it is of another entry, too")
	}
}

// TestForeignForms: what another implementation may do otherwise, and may not.
func TestForeignForms(t *testing.T) {
	f := newForest(8)
	path, err := statement.Disclose(f, 2)
	if err != nil {
		t.Fatal(err)
	}
	root := f.root(0, 8)
	loose, err := cbor.EncOptions{}.EncMode() // maps in Go's order, no canonical form
	if err != nil {
		t.Fatal(err)
	}
	enc := func(v any) []byte {
		b, err := loose.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ec := ecKey(t, 3)
	key, ecPub := newKey(t, edKey(1).Public()), newKey(t, ec.Public())
	proof := enc([]any{8, 2, path.Path})
	make := func(protected []byte, unprotected any, payload []byte, sign func([]byte) []byte) []byte {
		tbs := dcbor.AppendBytes(dcbor.AppendText([]byte{0x84}, "Signature1"), protected)
		tbs = dcbor.AppendBytes(dcbor.AppendBytes(tbs, nil), root[:])
		return enc([]any{protected, unprotected, payload, sign(tbs)})
	}
	ed := func(tbs []byte) []byte { return ed25519.Sign(edKey(1), tbs) }
	highS := func(tbs []byte) []byte {
		h := sha256.Sum256(tbs)
		r, s, err := ecdsa.Sign(nil, ec, h[:])
		if err != nil {
			t.Fatal(err)
		}
		if n := elliptic.P256().Params().N; s.Cmp(new(big.Int).Rsh(n, 1)) <= 0 {
			s.Sub(n, s)
		}
		return append(r.FillBytes(bytes.Repeat([]byte{0}, 32)), s.FillBytes(bytes.Repeat([]byte{0}, 32))...)
	}
	unprotected := map[any]any{396: map[any]any{-1: [][]byte{proof}}}
	unsorted := append([]byte{0xa2}, append(enc(395), append([]byte{1, 1}, 0x27)...)...) // 395 before 1
	base := make(unsorted, unprotected, nil, ed)
	header := func(m map[any]any) []byte { return enc(m) }
	for name, c := range map[string]struct {
		receipt []byte
		key     statement.Key
		ok      bool
	}{
		"unsorted, untagged":       {base, key, true},
		"tagged":                   {append([]byte{0xd2}, base...), key, true},
		"more headers":             {make(header(map[any]any{1: -8, 395: 1, 3: "application/x", 4: []byte("log")}), map[any]any{396: unprotected[396], 33: []byte{1}}, nil, ed), key, true},
		"root attached":            {make(unsorted, unprotected, root[:], ed), key, true},
		"es256 with a high s":      {make(header(map[any]any{1: -7, 395: 1}), unprotected, nil, highS), ecPub, true},
		"another root attached":    {make(unsorted, unprotected, []byte("another"), ed), key, false},
		"key of another algorithm": {base, ecPub, false},
		"no structure named":       {make(header(map[any]any{1: -8}), unprotected, nil, ed), key, false},
		"another structure":        {make(header(map[any]any{1: -8, 395: 2}), unprotected, nil, ed), key, false},
		"critical and unknown":     {make(header(map[any]any{1: -8, 395: 1, 2: []any{99}, 99: 1}), unprotected, nil, ed), key, false},
		"two proofs":               {make(unsorted, map[any]any{396: map[any]any{-1: [][]byte{proof, proof}}}, nil, ed), key, false},
		"no proof":                 {make(unsorted, map[any]any{}, nil, ed), key, false},
		"proof is no bytes":        {make(unsorted, map[any]any{396: map[any]any{-1: []any{1}}}, nil, ed), key, false},
		"index past the end":       {make(unsorted, map[any]any{396: map[any]any{-1: [][]byte{enc([]any{8, 8, path.Path})}}}, nil, ed), key, false},
		"no key":                   {base, statement.Key{}, false},
		"nothing":                  {nil, key, false},
		"too large":                {bytes.Repeat([]byte{0xd2}, statement.MaxForeign+1), key, false},
	} {
		got, err := statement.VerifyForeignReceipt(c.receipt, f[2], c.key)
		if (err == nil) != c.ok || c.ok && (got.Index != 2 || got.Size != 8 || got.Root != root) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzVerifyForeignReceipt(f *testing.F) {
	tree := newForest(8)
	path, err := statement.Disclose(tree, 2)
	if err != nil {
		f.Fatal(err)
	}
	s := signer(f, edKey(1))
	r, err := s.SignReceipt("ledger.example.com/acme", 1, 8, 2, tree.root(0, 8), path.Path)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := statement.VerifyForeignReceipt(r, tree[2], s.Key()); err != nil {
		f.Fatalf("our own receipt is refused: %v", err)
	}
	f.Add(r)
	f.Fuzz(func(t *testing.T, data []byte) {
		if got, err := statement.VerifyForeignReceipt(data, tree[2], s.Key()); err == nil && (got.Root != tree.root(0, 8) || got.Index != 2) {
			t.Errorf("verified as %+v", got)
		}
	})
}

func newKey(t testing.TB, pub any) statement.Key {
	t.Helper()
	k, err := statement.NewKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestTransparent: a statement survives being shown with its receipts.
func TestTransparent(t *testing.T) {
	log := signer(t, edKey(9))
	st, err := signer(t, edKey(1)).Sign(header(statement.KindFrame), []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	entry := st.Entry()
	tree := newForest(5)
	tree[3] = entry[:]
	path, err := statement.Disclose(tree, 3)
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := log.SignReceipt("ledger.example.com/acme", 1, 5, 3, tree.root(0, 5), path.Path)
	if err != nil {
		t.Fatal(err)
	}
	shown, err := statement.AttachReceipts(st.Bytes(), receipt, receipt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := statement.Parse(shown); err == nil {
		t.Error("a transparent statement counts as the statement itself")
	}
	back, receipts, err := statement.DetachReceipts(shown)
	if err != nil || !bytes.Equal(back.Bytes(), st.Bytes()) || len(receipts) != 2 {
		t.Fatalf("%v, %d receipts", err, len(receipts))
	}
	c := statement.Checkpoint{Origin: "ledger.example.com/acme", Size: 5, Root: tree.root(0, 5)}
	if err := receipts[1].Verify(back.Entry(), c, log.Key()); err != nil {
		t.Error(err)
	}
	if _, err := statement.AttachReceipts(st.Bytes()); err == nil {
		t.Error("no receipt attached")
	}
	if _, err := statement.AttachReceipts(shown, receipt); err == nil {
		t.Error("receipts attached twice")
	}
	for name, data := range map[string][]byte{"plain statement": st.Bytes(), "nothing": nil, "cut": shown[:len(shown)-1], "untagged": shown[1:]} {
		if _, _, err := statement.DetachReceipts(data); err == nil {
			t.Errorf("%s has receipts", name)
		}
	}
}

func FuzzDetachReceipts(f *testing.F) {
	st, err := signer(f, edKey(1)).Sign(header(statement.KindFrame), []byte("payload"))
	if err != nil {
		f.Fatal(err)
	}
	receipt, err := signer(f, edKey(9)).SignReceipt("a", 1, 1, 0, statement.Hash{}, nil)
	if err != nil {
		f.Fatal(err)
	}
	shown, err := statement.AttachReceipts(st.Bytes(), receipt)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(shown)
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, receipts, err := statement.DetachReceipts(data); err == nil && (s == nil || len(receipts) == 0) {
			t.Error("nothing, and no error")
		}
	})
}
