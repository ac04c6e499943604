package evmproof

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// golden is what geth says; testdata/geth tells how it was made.
type golden struct {
	Header hexBytes `json:"header"`
	Hash   hexBytes `json:"hash"`
	Number uint64   `json:"number"`
	Time   uint64   `json:"time"`

	Address      hexBytes   `json:"address"`
	AccountProof []hexBytes `json:"account_proof"`
	Nonce        uint64     `json:"nonce"`
	CodeHash     hexBytes   `json:"code_hash"`
	Slots        []struct {
		Key   hexBytes   `json:"key"`
		Value hexBytes   `json:"value"`
		Proof []hexBytes `json:"proof"`
	} `json:"slots"`
	Missing      hexBytes   `json:"missing"`
	MissingProof []hexBytes `json:"missing_proof"`

	Receipts []struct {
		Index uint64 `json:"index"`
		OK    bool   `json:"ok"`
		Logs  []struct {
			Address hexBytes   `json:"address"`
			Topics  []hexBytes `json:"topics"`
			Data    hexBytes   `json:"data"`
		} `json:"logs"`
		Proof []hexBytes `json:"proof"`
	} `json:"receipts"`
	Tries []struct {
		Root  hexBytes   `json:"root"`
		Key   hexBytes   `json:"key"`
		Value hexBytes   `json:"value"`
		Proof []hexBytes `json:"proof"`
	} `json:"tries"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(strings.TrimPrefix(string(text), "0x"))
	return err
}

func raw(nodes []hexBytes) [][]byte {
	out := make([][]byte, len(nodes))
	for i := range nodes {
		out[i] = nodes[i]
	}
	return out
}

func load(t testing.TB) (g golden, h Header, a Account) {
	t.Helper()
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	if h, err = ParseHeader([32]byte(g.Hash), g.Header); err != nil {
		t.Fatal(err)
	}
	if a, err = h.Account([20]byte(g.Address), raw(g.AccountProof)); err != nil {
		t.Fatal(err)
	}
	return g, h, a
}

func TestStorage(t *testing.T) {
	g, h, a := load(t)
	if h.Number != g.Number || h.Time != g.Time || h.Hash != [32]byte(g.Hash) {
		t.Errorf("header %+v, want number %d, time %d", h, g.Number, g.Time)
	}
	if a.Nonce != g.Nonce || a.CodeHash != [32]byte(g.CodeHash) {
		t.Errorf("account %+v, want nonce %d, code %x", a, g.Nonce, g.CodeHash)
	}
	zeros := 0
	for i, s := range g.Slots {
		key, value := [32]byte(s.Key), [32]byte(s.Value)
		if value == ([32]byte{}) {
			zeros++
		}
		if err := a.VerifySlot(key, value, raw(s.Proof)); err != nil {
			t.Error(err)
		}
		for b := range value {
			bad := value
			bad[b] ^= 1
			if err := a.VerifySlot(key, bad, raw(s.Proof)); err == nil || !strings.Contains(err.Error(), "holds") {
				t.Errorf("slot %d with another value: %v", i, err)
			}
		}
		key[0] ^= 1
		if err := a.VerifySlot(key, value, raw(s.Proof)); err == nil && value != [32]byte{} {
			t.Errorf("slot %d: proof of another key is accepted", i)
		}
		spoil(t, raw(s.Proof), func(p [][]byte) error { return a.VerifySlot([32]byte(s.Key), value, p) })
	}
	if zeros == 0 || zeros == len(g.Slots) {
		t.Errorf("%d of %d slots are empty", zeros, len(g.Slots))
	}
	spoil(t, raw(g.AccountProof), func(p [][]byte) error { _, err := h.Account([20]byte(g.Address), p); return err })
	if _, err := h.Account([20]byte(g.Missing), raw(g.MissingProof)); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("account that is not there: %v", err)
	}
	if _, err := h.Account([20]byte(g.Missing), raw(g.AccountProof)); err == nil {
		t.Error("account under the proof of another")
	}
}

// An account without storage has the root of the empty trie.
func TestEmptyStorage(t *testing.T) {
	a := Account{StorageRoot: Keccak256([]byte{0x80})}
	if err := a.VerifySlot([32]byte{1}, [32]byte{}, nil); err != nil {
		t.Error(err)
	}
	if err := a.VerifySlot([32]byte{1}, [32]byte{31: 1}, nil); err == nil {
		t.Error("a value in no storage")
	}
	if err := (Account{}).VerifySlot([32]byte{1}, [32]byte{}, nil); err == nil {
		t.Error("nothing proves a slot under an unknown root")
	}
}

// spoil flips every third bit of good, and drops, doubles, adds and cuts nodes.
func spoil(t *testing.T, good [][]byte, verify func([][]byte) error) {
	t.Helper()
	if err := verify(good); err != nil {
		t.Fatal(err)
	}
	refused := func(what string, bad [][]byte) {
		t.Helper()
		if verify(bad) == nil {
			t.Errorf("%s: accepted", what)
		}
	}
	for i, n := range good {
		for bit := 0; bit < 8*len(n); bit += 3 {
			bad := slices.Clone(good)
			bad[i] = bytes.Clone(n)
			bad[i][bit/8] ^= 1 << (bit % 8)
			refused("a bit flipped", bad)
		}
		bad := slices.Clone(good)
		bad[i] = n[:len(n)-1]
		refused("node cut", bad)
		bad = slices.Clone(good)
		bad[i] = append(bytes.Clone(n), 0x80)
		refused("node grown", bad)
		bad[i] = nil
		refused("node emptied", bad)
		refused("node dropped", slices.Delete(slices.Clone(good), i, i+1))
		refused("node doubled", slices.Insert(slices.Clone(good), i, n))
	}
	refused("node added", append(slices.Clone(good), []byte{0xc0}))
	refused("65 nodes", slices.Repeat(good[:1], MaxNodes+1))
	refused("64 KiB", append(slices.Clone(good), make([]byte, MaxProof)))
	if len(good) > 1 {
		bad := slices.Clone(good)
		bad[0], bad[1] = bad[1], bad[0]
		refused("swapped", bad)
	}
}

func TestReceipts(t *testing.T) {
	g, h, _ := load(t)
	reverted := 0
	for _, want := range g.Receipts {
		got, err := h.Receipt(want.Index, raw(want.Proof))
		if err != nil {
			t.Fatal(err)
		}
		if got.OK != want.OK || len(got.Logs) != len(want.Logs) {
			t.Fatalf("receipt %+v, want %+v", got, want)
		}
		if !got.OK {
			reverted++
		}
		for i, l := range want.Logs {
			m := got.Logs[i]
			if m.Address != [20]byte(l.Address) || !bytes.Equal(m.Data, l.Data) || len(m.Topics) != len(l.Topics) || m.Topics[0] != [32]byte(l.Topics[0]) {
				t.Errorf("log %+v, want %+v", m, l)
			}
		}
		if _, err := h.Receipt(want.Index+1, raw(want.Proof)); err == nil {
			t.Errorf("receipt %d under the proof of %d", want.Index+1, want.Index)
		}
		spoil(t, raw(want.Proof), func(p [][]byte) error { _, err := h.Receipt(want.Index, p); return err })
	}
	if reverted == 0 || reverted == len(g.Receipts) {
		t.Errorf("%d of %d transactions reverted", reverted, len(g.Receipts))
	}
}

// A branch at the end of a key may hold no value.
func TestBranchWithoutValue(t *testing.T) {
	leaf := []byte{0xc2, 0x31, 0x05} // one nibble, value 5
	node := slices.Concat([]byte{0xd3}, leaf, bytes.Repeat([]byte{0x80}, 16))
	if v, err := walk(Keccak256(node), nil, [][]byte{node}); v != nil || err != nil {
		t.Errorf("%x, %v", v, err)
	}
	if v, err := walk(Keccak256(node), []byte{0x01}, [][]byte{node}); !bytes.Equal(v, []byte{5}) || err != nil {
		t.Errorf("%x, %v", v, err)
	}
}

func TestLimits(t *testing.T) {
	body := slices.Concat([]byte{0x20, 0xba, 1, 0, 0}, make([]byte, 1<<16)) // a leaf of 64 KiB
	node := slices.Concat([]byte{0xfa, 1, 0, 5}, body)
	if _, err := walk(Keccak256(node), nil, [][]byte{node}); err == nil || !strings.Contains(err.Error(), "over the limit of 65536") {
		t.Errorf("large proof: %v", err)
	}
	if _, err := walk([32]byte{}, nil, make([][]byte, 65)); err == nil || !strings.Contains(err.Error(), "over the limit of 64") {
		t.Errorf("long proof: %v", err)
	}
}

// Tries of short keys and values, with nodes inside nodes, keys that end in
// branches and keys that are absent in each possible way.
func TestTries(t *testing.T) {
	g, _, _ := load(t)
	absent := 0
	for i, e := range g.Tries {
		got, err := walk([32]byte(e.Root), e.Key, raw(e.Proof))
		if err != nil || !bytes.Equal(got, e.Value) || (got == nil) != (len(e.Value) == 0) {
			t.Errorf("trie %d: %x holds %x, want %x: %v", i, e.Key, got, e.Value, err)
		}
		if got == nil {
			absent++
		}
		spoil(t, raw(e.Proof), func(p [][]byte) error { _, err := walk([32]byte(e.Root), e.Key, p); return err })
	}
	if absent == 0 || absent == len(g.Tries) {
		t.Errorf("%d of %d keys are absent", absent, len(g.Tries))
	}
}

func TestHeader(t *testing.T) {
	g, _, _ := load(t)
	for i := range g.Header {
		bad := bytes.Clone(g.Header)
		bad[i] ^= 1
		if _, err := ParseHeader([32]byte(g.Hash), bad); err == nil {
			t.Errorf("byte %d flipped", i)
		}
	}
	hash := "a0" + strings.Repeat("11", 32)
	fields := func(n int, replace map[int]string) string {
		var body strings.Builder
		for i := range n {
			f := "80"
			if i == 3 || i == 5 {
				f = hash
			}
			if r, ok := replace[i]; ok {
				f = r
			}
			body.WriteString(f)
		}
		return "f8" + hex.EncodeToString([]byte{byte(body.Len() / 2)}) + body.String()
	}
	for name, c := range map[string]struct{ rlp, want string }{
		"bare":             {fields(15, nil), ""},
		"many fields":      {fields(32, nil), ""},
		"14 fields":        {fields(14, nil), "14 fields"},
		"33 fields":        {fields(33, nil), "over 32"},
		"short root":       {fields(15, map[int]string{3: "8111"}), "malformed"},
		"list for root":    {fields(15, map[int]string{5: "c0"}), "malformed"},
		"number with zero": {fields(15, map[int]string{8: "00"}), "not canonical"},
		"number of 9":      {fields(15, map[int]string{8: "89" + strings.Repeat("11", 9)}), "not canonical"},
		"list for time":    {fields(15, map[int]string{11: "c0"}), "not canonical"},
		"byte in a string": {fields(15, map[int]string{1: "8111"}), "malformed"},
		"string too long":  {fields(15, map[int]string{14: "b7"}), "malformed"},
		"trailing byte":    {fields(15, nil) + "00", "1 bytes after"},
		"long form":        {"f80180", "malformed"},
		"zero in size":     {"f90001", "malformed"},
		"zero before size": {"f9004f" + fields(15, nil)[4:], "malformed"},
		"huge size":        {"ffffffffffffffffff", "malformed"},
		"size cut off":     {"f9", "malformed"},
		"a string":         {"80", "string where a list"},
		"nothing":          {"", "malformed"},
		"too large":        {strings.Repeat("00", MaxHeader+1), "over the limit"},
	} {
		data, err := hex.DecodeString(c.rlp)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseHeader(Keccak256(data), data)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Nodes and leaves that hash well and are none.
func TestHostile(t *testing.T) {
	long := strings.Repeat("11", 40)
	for name, c := range map[string]struct{ node, want string }{
		"no list":             {"80", "string where a list"},
		"three items":         {"c3808080", "3 items"},
		"18 items":            {"d2" + strings.Repeat("80", 18), "over 17"},
		"no path":             {"c28011", "path of 0 bytes"},
		"path is a list":      {"c2c011", "path of"},
		"long path":           {"e4a2" + strings.Repeat("00", 34) + "11", "path of 34"},
		"flag 4":              {"c2" + "40" + "11", "path begins"},
		"even path, low bits": {"c2" + "21" + "11", "path begins"},
		"extension of none":   {"e2" + "00" + "a0" + strings.Repeat("11", 32), "no nibbles"},
		"extension to value":  {"c2" + "16" + "11", "neither a hash"},
		"leaf of nothing":     {"c2" + "20" + "80", "leaf of no value"},
		"leaf of a list":      {"c2" + "20" + "c0", "list where a value"},
		"branch of a list":    {"d1" + strings.Repeat("80", 16) + "c0", "list where a value"},
		"bad child off path":  {"d1" + strings.Repeat("80", 15) + "11" + "80", "neither a hash"},
		"bad embedded child":  {"d2" + strings.Repeat("80", 15) + "c180" + "80", "1 items"},
		"large embedded":      {"f83a" + strings.Repeat("80", 15) + "e9a8" + long + "80", "neither a hash"},
	} {
		node, err := hex.DecodeString(c.node)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := walk(Keccak256(node), []byte{0x65}, [][]byte{node}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// Leaves in a trie of one: the node is [0x20 ‖ path, value].
	leaf := func(key []byte, value string) (root [32]byte, proof [][]byte) {
		v, err := hex.DecodeString(value)
		if err != nil {
			t.Fatal(err)
		}
		body := slices.Concat([]byte{0x80 + byte(len(key)+1), 0x20}, key, str(v))
		node := slices.Concat(head(0xc0, len(body)), body)
		return Keccak256(node), [][]byte{node}
	}
	key := Keccak256(make([]byte, 32))
	for value, ok := range map[string]bool{
		"01": true, "8180": true, "a0" + strings.Repeat("22", 32): true,
		"a1" + strings.Repeat("22", 33): false, "00": false, "820011": false, "8101": false, "c101": false, "0101": false, "81": false,
	} {
		root, proof := leaf(key[:], value)
		err := Account{StorageRoot: root}.VerifySlot([32]byte{}, [32]byte{31: 1}, proof)
		if read := err == nil || !strings.Contains(err.Error(), "no number"); read != ok {
			t.Errorf("value %s: %v", value, err)
		}
	}
	address := Keccak256(make([]byte, 20))
	roots := strings.Repeat("a0"+strings.Repeat("22", 32), 2)
	for value, ok := range map[string]bool{
		"f8440180" + roots: true, "f8450180" + roots + "80": false, "f843" + "01" + roots: false, "f84400" + "80" + roots: false, "01": false,
		"c480808080": false,
	} {
		root, proof := leaf(address[:], value)
		if _, err := (Header{StateRoot: root}).Account([20]byte{}, proof); (err == nil) != ok {
			t.Errorf("account %s: %v", value, err)
		}
	}
	logs := func(l string) string { // a receipt of one log
		b, err := hex.DecodeString(l)
		if err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(slices.Concat(head(0xc0, 3+len(head(0xc0, len(b)))+len(b)), []byte{1, 0x80, 0x80}, head(0xc0, len(b)), b))
	}
	address20, topic := "94"+strings.Repeat("33", 20), "a0"+strings.Repeat("44", 32)
	for value, ok := range map[string]bool{
		"c4018080c0": true, "02c4018080c0": true, "c4808080c0": true, "c4028080c0": false, "c4c08080c0": false, "c3018080": false, "c5018080c080": false,
		"c401808080": false, "02": false, logs("d7" + address20 + "c0" + "80"): true, logs("d6" + address20 + "c0"): false,
		logs("f838" + address20 + "e1" + topic + "80"): true, logs("f838" + address20 + "e1" + topic + "c0"): false, logs("d9" + address20 + "c28111" + "80"): false,
		logs("f8bf" + address20 + "f8a5" + strings.Repeat(topic, 5) + "8011"): false, logs("80"): false,
	} {
		root, proof := leaf(encodeUint(300), value)
		if _, err := (Header{ReceiptsRoot: root}).Receipt(300, proof); (err == nil) != ok {
			t.Errorf("receipt %s: %v", value, err)
		}
	}
}

// head is the head of an RLP item of n bytes.
func head(kind byte, n int) []byte {
	if n < 56 {
		return []byte{kind + byte(n)}
	}
	size := bytes.TrimLeft([]byte{byte(n >> 8), byte(n)}, "\x00")
	return append([]byte{kind + 55 + byte(len(size))}, size...)
}

func str(b []byte) []byte {
	if len(b) == 1 && b[0] < 0x80 {
		return b
	}
	return slices.Concat(head(0x80, len(b)), b)
}

// Whatever bytes come, nothing panics, and a node under its own hash holds one
// value for a key.
func FuzzWalk(f *testing.F) {
	g, _, _ := load(f)
	for _, e := range g.Tries[:10] {
		f.Add([]byte(e.Key), bytes.Join(raw(e.Proof), nil))
	}
	f.Add([]byte{0x65}, []byte{0xc2, 0x20, 0x11})
	f.Fuzz(func(t *testing.T, key, node []byte) {
		root := Keccak256(node)
		value, err := walk(root, key, [][]byte{node})
		if err != nil || value == nil {
			return
		}
		if !bytes.Contains(node, value) || len(key) > 33 {
			t.Fatalf("%x holds %x at %x", node, value, key)
		}
		a, h := Account{StorageRoot: root}, Header{StateRoot: root, ReceiptsRoot: root}
		_ = a.VerifySlot([32]byte{}, [32]byte{}, [][]byte{node})
		_, _ = h.Account([20]byte{}, [][]byte{node})
		_, _ = h.Receipt(0, [][]byte{node})
	})
}

// A receipt or header of any bytes is refused or read, never a panic.
func FuzzDecode(f *testing.F) {
	g, _, _ := load(f)
	f.Add([]byte(g.Header))
	for _, r := range g.Receipts {
		last := r.Proof[len(r.Proof)-1]
		n, err := decodeList(last, 17)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(n[1].content)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if h, err := ParseHeader(Keccak256(data), data); err == nil && h.Hash != Keccak256(data) {
			t.Fatalf("%+v", h)
		}
		r, err := parseReceipt(data)
		if err == nil && len(r.Logs) > len(data)/24 {
			t.Fatalf("%d logs in %d bytes", len(r.Logs), len(data))
		}
	})
}

func BenchmarkSlot(b *testing.B) {
	g, _, _ := load(b)
	size := len(g.Header)
	for _, n := range slices.Concat(g.AccountProof, g.Slots[0].Proof) {
		size += len(n)
	}
	for b.Loop() {
		h, err := ParseHeader([32]byte(g.Hash), g.Header)
		if err != nil {
			b.Fatal(err)
		}
		a, err := h.Account([20]byte(g.Address), raw(g.AccountProof))
		if err != nil {
			b.Fatal(err)
		}
		if err := a.VerifySlot([32]byte(g.Slots[0].Key), [32]byte(g.Slots[0].Value), raw(g.Slots[0].Proof)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size), "bytes")
}
