package epc

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write testdata anew")

const objectsFile = "testdata/objects.json"

// TestObjectsGolden holds what tags name against a file that other languages'
// verifiers read, too: tags of every coding, whole and with a bit flipped.
func TestObjectsGolden(t *testing.T) {
	type named struct{ Tag, URI string }
	var all []named
	add := func(tag []byte) {
		uri := ""
		if o, ok := TagObject(tag); ok {
			uri = o.URI()
		}
		all = append(all, named{hex.EncodeToString(tag), uri})
	}
	rng := rand.New(rand.NewPCG(7, 9))
	const set = `0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!"%&'()*+,-./:;<=>?_`
	alphabets := []string{"0123456789", hexUpper, hexLower, urn40[1:], fileSafe, set}
	for _, v := range examples() {
		add(unhex(t, v[0]))
	}
	made := 0
	for i := range 240 {
		alphabet := alphabets[i%len(alphabets)]
		serial := make([]byte, 1+rng.IntN(20))
		for k := range serial {
			serial[k] = alphabet[rng.IntN(len(alphabet))]
		}
		company := []string{"952123", "9521234", "952123454", "952123454321"}[rng.IntN(4)]
		id := ID{Scheme: SGTIN, Filter: 1, CompanyPrefix: company, Reference: "0123456"[:13-len(company)], Serial: string(serial)}
		var tag Tag
		var err error
		switch i % 4 {
		case 0:
			tag, err = id.Tag(CodingSGTIN198)
		case 1:
			tag, err = id.Link().Tag(2)
		case 2:
			id.Scheme, id.Serial, id.Reference = SSCC, "", "01234567890"[:17-len(company)]
			if tag, err = id.Tag(CodingSSCC96); rng.IntN(2) == 0 && err == nil {
				tag, err = id.Link().Tag(0)
			}
		case 3:
			id.Serial = []string{"0", "7", "274877906943", "12345678"}[rng.IntN(4)]
			tag, err = id.Tag(CodingSGTIN96)
		}
		if err != nil {
			continue
		}
		b, err := tag.Encode()
		if err != nil {
			t.Fatal(err)
		}
		made++
		add(b)
		for range 2 {
			bent := append([]byte{}, b...)
			bent[rng.IntN(len(bent))] ^= 1 << rng.IntN(8)
			add(bent)
		}
		add(b[:len(b)-2])
		add(append(append([]byte{}, b...), 0, 0))
	}
	if made < 150 {
		t.Fatalf("%d tags", made)
	}
	want, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(objectsFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(objectsFile); err != nil || string(got) != string(want) {
		t.Errorf("%s is not what is made (%v): run go test ./internal/epc -run Golden -update", objectsFile, err)
	}
}
