package document

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// regexp2 has the look-aheads of GS1's schema, which Go's regexp has not.
type lookahead regexp2.Regexp

func (r *lookahead) MatchString(s string) bool {
	ok, err := (*regexp2.Regexp)(r).MatchString(s)
	return err == nil && ok
}

func (r *lookahead) String() string { return (*regexp2.Regexp)(r).String() }

// Schema is GS1's JSON schema of EPCIS 2.0.
func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	path, err := filepath.Abs("../../../../../shared/data/epcis/EPCIS-JSON-Schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("GS1's schema is not there: ../shared/data/epcis")
	}
	c := jsonschema.NewCompiler()
	c.UseRegexpEngine(func(s string) (jsonschema.Regexp, error) {
		r, err := regexp2.Compile(s, regexp2.ECMAScript)
		return (*lookahead)(r), err
	})
	s, err := c.Compile(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func schemaSays(s *jsonschema.Schema, doc string) error {
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(doc))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// TestAgainstSchema: what this package takes GS1's schema takes, as it came and as
// it is kept, and of what is bad by the standard it refuses the same.
func TestAgainstSchema(t *testing.T) {
	s := schema(t)
	for name, e := range corpus {
		for _, doc := range []string{documentOf(e), single(e)} {
			if err := schemaSays(s, doc); err != nil {
				t.Fatalf("%s: GS1's schema refuses the corpus: %v", name, err)
			}
			all, err := Parse([]byte(doc))
			if err != nil || len(all) != 1 || len(all[0].Errors) > 0 {
				t.Errorf("%s: %v, %v", name, err, all)
				continue
			}
			if err := schemaSays(s, string(all[0].Event.Document())); err != nil {
				t.Errorf("%s: GS1's schema refuses what is kept: %v", name, err)
			}
		}
	}
	refused := 0
	for name, doc := range bad() {
		want := schemaSays(s, doc)
		got := whatIsWrong(doc)
		if (want == nil) != (got == nil) {
			t.Errorf("%s: here %v, GS1's schema %v\n%s", name, got, want, doc)
		}
		if want != nil {
			refused++
		}
	}
	t.Logf("%d events taken by both, %d documents refused by both", len(corpus), refused)
}

// TestStricter: what the schema takes and a signature cannot name is refused.
func TestStricter(t *testing.T) {
	s := schema(t)
	for name, c := range stricter() {
		if err := schemaSays(s, documentOf(c.event)); err != nil {
			t.Errorf("%s: GS1's schema refuses it, too: %v", name, err)
		}
		if err := whatIsWrong(documentOf(c.event)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func whatIsWrong(doc string) error {
	all, err := Parse([]byte(doc))
	if err != nil {
		return err
	}
	for _, one := range all {
		if len(one.Errors) > 0 {
			return one.Errors
		}
	}
	return nil
}

const hashOracle = `
const { eventToHashedId } = require(process.argv[1]);
let text = ""; process.stdin.on("data", (d) => text += d).on("end", () => {
  console.log(JSON.stringify(JSON.parse(text).map(({ event, context }) => {
    try { return eventToHashedId(event, context); } catch (e) { return String(e); }
  })));
});`

var (
	ssccURI   = regexp.MustCompile(`urn:epc:id:sscc:[0-9.]+`)
	emptyList = regexp.MustCompile(`"\w+":\[\],`)
)

// TestHashAgainstAnotherImplementation compares with npm epcis2.js 2.7.3. Left out
// is what it gets wrong: it makes 19 digits of an SSCC's EPC URI, so it is given
// the Digital Link; it fails on an empty list and
// takes a list of one object for the object; it cuts off what is finer than a millisecond, where the
// standard's reference implementation rounds; and it hashes certificationInfo,
// which is not in the standard's list.
func TestHashAgainstAnotherImplementation(t *testing.T) {
	module, err := filepath.Abs("../../../../web/node_modules/epcis2.js")
	if err != nil {
		t.Fatal(err)
	}
	node, nodeErr := exec.LookPath("node")
	if _, err := os.Stat(module); err != nil || nodeErr != nil {
		t.Skip("no node, or no web/node_modules/epcis2.js: run make web")
	}
	type question struct {
		Event   json.RawMessage `json:"event"`
		Context json.RawMessage `json:"context"`
	}
	names := slices.Sorted(maps.Keys(corpus))
	var asked []question
	for _, n := range names {
		event := emptyList.ReplaceAllString(ssccURI.ReplaceAllStringFunc(corpus[n], Canonical), "")
		asked = append(asked, question{json.RawMessage(event), json.RawMessage(testContext)})
	}
	input, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "-e", hashOracle, module)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var answers []string
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(names) {
		t.Fatalf("%d answers, %v", len(answers), err)
	}
	same := 0
	for i, n := range names {
		all, err := Parse([]byte(documentOf(corpus[n])))
		if err != nil || len(all[0].Errors) > 0 {
			t.Fatalf("%s: %v %v", n, err, all)
		}
		if got := all[0].Event.Hash; got != answers[i] {
			v, _ := parseJSON([]byte(single(corpus[n])))
			o := v.(*object)
			t.Errorf("%s: %s, there %s\nhashed: %s", n, got, answers[i], preHash(o, prefixes(o.m["@context"])))
			continue
		}
		same++
	}
	if same < 30 {
		t.Errorf("%d events hash alike, want 30 or more", same)
	}
	t.Logf("%d of %d events hash alike", same, len(names))
}
