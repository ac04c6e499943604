package cddl

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Parse reads a CDDL text.
func Parse(text string) (*Schema, error) {
	p := &parser{rest: text, line: 1}
	s := &Schema{rules: map[string]typ{}, uses: map[string][]string{}}
	err := p.rules(s)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// check refuses undefined names and rules that contain themselves: the depth of
// what the format describes is bounded, and so is every match.
func (s *Schema) check() error {
	done := map[string]bool{}
	var visit func(rule string, path []string) error
	visit = func(rule string, path []string) error {
		if slices.Contains(path, rule) {
			return fmt.Errorf("rule %s contains itself", rule)
		}
		for _, used := range s.uses[rule] {
			if _, ok := s.rules[used]; !ok {
				return fmt.Errorf("rule %s uses %s, which is not defined", rule, used)
			}
			if !done[used] {
				if err := visit(used, append(path, rule)); err != nil {
					return err
				}
			}
		}
		done[rule] = true
		return nil
	}
	for _, rule := range s.Rules() {
		if err := visit(rule, nil); err != nil {
			return err
		}
	}
	return nil
}

// maxDepth bounds brackets within brackets.
const maxDepth = 32

// A parser holds one token ahead of the rest of the text.
type parser struct {
	rest  string
	token string // "" at the end
	line  int
	depth int
	used  []string // names in the rule being read
}

var (
	blank  = regexp.MustCompile(`^(?:[ \t\r\n]|;[^\n]*)+`)
	tokens = regexp.MustCompile(`^(?:-?[0-9]+|[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*|"[^"\\\n]*"|//|\.\.|\.[a-z]+|#6\.[0-9]+|[=:,/?*+(){}\[\]])`)
)

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{p.line}, args...)...)
}

func (p *parser) next() error {
	if b := blank.FindString(p.rest); b != "" {
		p.line += strings.Count(b, "\n")
		p.rest = p.rest[len(b):]
	}
	p.token = tokens.FindString(p.rest)
	if p.token == "" && p.rest != "" {
		return p.errorf("%.10q is not of the part of CDDL that is read here", p.rest)
	}
	p.rest = p.rest[len(p.token):]
	return nil
}

func (p *parser) take(token string) error {
	if p.token != token {
		return p.errorf("%q, want %q", p.token, token)
	}
	return p.next()
}

func isName(token string) bool {
	return token != "" && (token[0]|32 >= 'a' && token[0]|32 <= 'z')
}

func isNumber(token string) bool {
	return token != "" && (token[len(token)-1] >= '0' && token[len(token)-1] <= '9') && !isName(token) && token[0] != '#'
}

// rules reads "name = type" to the end.
func (p *parser) rules(s *Schema) error {
	if err := p.next(); err != nil {
		return err
	}
	for p.token != "" {
		rule := p.token
		if !isName(rule) {
			return p.errorf("%q, want the name of a rule", rule)
		}
		if _, twice := s.rules[rule]; twice || prelude[rule] != nil {
			return p.errorf("rule %s is there already", rule)
		}
		if err := p.next(); err != nil {
			return err
		}
		if err := p.take("="); err != nil {
			return err
		}
		p.used = nil
		t, err := p.typ()
		if err != nil {
			return err
		}
		s.rules[rule], s.uses[rule] = t, p.used
	}
	if len(s.rules) == 0 {
		return errors.New("no rule")
	}
	return nil
}

// typ reads type1 / type1 …
func (p *parser) typ() (typ, error) {
	var all choice
	for {
		t, err := p.controlled()
		if err != nil {
			return nil, err
		}
		all = append(all, t)
		if p.token != "/" {
			break
		}
		if err := p.next(); err != nil {
			return nil, err
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

// controlled reads a type with a range or control operator, or without.
func (p *parser) controlled() (typ, error) {
	t, err := p.simple()
	if err != nil || !strings.HasPrefix(p.token, ".") {
		return t, err
	}
	op := p.token
	if err := p.next(); err != nil {
		return nil, err
	}
	arg, err := p.simple()
	if err != nil {
		return nil, err
	}
	text := t == name("tstr")
	switch op {
	case "..":
		lo, ok := t.(number)
		hi, ok2 := arg.(number)
		if !ok || !ok2 || lo > hi {
			return nil, p.errorf("a range is from a number to one that is not less")
		}
		return span{int64(lo), int64(hi)}, nil
	case ".size":
		_, one := arg.(number)
		_, many := arg.(span)
		if text || t == name("bstr") && (one || many) {
			return sized{t, arg}, nil
		}
	case ".cbor":
		if t == name("bstr") {
			return packed{t, arg}, nil
		}
	case ".regexp":
		if pattern, ok := arg.(words); ok && text {
			re, err := regexp.Compile("^(?:" + string(pattern) + ")$")
			if err != nil {
				return nil, p.errorf("%w", err)
			}
			return patterned{t, re}, nil
		}
	}
	return nil, p.errorf("%s does not go here", op)
}

// simple reads type2.
func (p *parser) simple() (typ, error) {
	token := p.token
	if err := p.next(); err != nil {
		return nil, err
	}
	switch {
	case isNumber(token):
		n, err := strconv.ParseInt(token, 10, 64)
		if err != nil {
			return nil, p.errorf("%w", err)
		}
		return number(n), nil
	case isName(token):
		if prelude[token] == nil {
			p.used = append(p.used, token)
		}
		return name(token), nil
	case strings.HasPrefix(token, `"`):
		return words(token[1 : len(token)-1]), nil
	case strings.HasPrefix(token, "#6."):
		tag, err := strconv.ParseUint(token[3:], 10, 64)
		if err != nil {
			return nil, p.errorf("%w", err)
		}
		if err := p.take("("); err != nil {
			return nil, err
		}
		t, err := p.inner()
		return tagged{tag, t}, err
	case token == "(":
		return p.inner()
	case token == "[":
		g, err := p.group("]", false)
		return array{g}, err
	case token == "{":
		g, err := p.group("}", true)
		return mapping{g}, err
	}
	return nil, p.errorf("%q, want a type", token)
}

// inner reads a type and the bracket after it.
func (p *parser) inner() (typ, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.errorf("brackets deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	t, err := p.typ()
	if err != nil {
		return nil, err
	}
	return t, p.take(")")
}

// group reads entries up to the bracket that closes them; keyed if in a map.
func (p *parser) group(end string, keyed bool) (group, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.errorf("brackets deeper than %d", maxDepth)
	}
	defer func() { p.depth-- }()
	g := group{nil}
	for p.token != end {
		if p.token == "//" {
			if keyed {
				return nil, p.errorf("a choice between members of a map is not read here")
			}
			if err := p.next(); err != nil {
				return nil, err
			}
			g = append(g, nil)
			continue
		}
		e, err := p.entry(keyed)
		if err != nil {
			return nil, err
		}
		g[len(g)-1] = append(g[len(g)-1], e)
		if p.token == "," {
			if err := p.next(); err != nil {
				return nil, err
			}
		}
	}
	if len(g) > 1 && slices.ContainsFunc(g, func(s []entry) bool { return len(s) == 0 }) {
		return nil, p.errorf("an alternative of nothing")
	}
	return g, p.next()
}

// entry reads one entry of a group, with its occurrence and key.
func (p *parser) entry(keyed bool) (e entry, err error) {
	if e.min, e.max, err = p.occurrence(); err != nil {
		return e, err
	}
	if keyed && e.max != 1 {
		return e, p.errorf("a member of a map is there once, or not")
	}
	if p.token == "(" {
		if err := p.next(); err != nil {
			return e, err
		}
		e.group, err = p.group(")", keyed)
		return e, err
	}
	if colon := strings.TrimLeft(p.rest, " "); !strings.HasPrefix(colon, ":") {
		if keyed {
			return e, p.errorf("%q in a map has no key", p.token)
		}
		e.value, err = p.typ()
		return e, err
	}
	switch {
	case !keyed && isName(p.token): // documentation only
	case keyed && isName(p.token):
		e.key = words(p.token)
	case keyed && isNumber(p.token):
		n, err := strconv.ParseInt(p.token, 10, 64)
		if err != nil {
			return e, p.errorf("%w", err)
		}
		e.key = number(n)
	default:
		return e, p.errorf("%q is no key here", p.token)
	}
	if err := p.next(); err != nil {
		return e, err
	}
	if err := p.take(":"); err != nil {
		return e, err
	}
	e.value, err = p.typ()
	return e, err
}

func (p *parser) occurrence() (lo, hi int, err error) {
	switch {
	case p.token == "?":
		return 0, 1, p.next()
	case p.token == "+":
		return 1, -1, p.next()
	case isNumber(p.token) && strings.HasPrefix(p.rest, "*"):
		if lo, err = strconv.Atoi(p.token); err != nil || lo < 0 {
			return 0, 0, p.errorf("%q is no number of times", p.token)
		}
		if err := p.next(); err != nil {
			return 0, 0, err
		}
	case p.token == "*":
	default:
		return 1, 1, nil
	}
	hi = -1
	if digits := strings.TrimLeft(p.rest, "0123456789"); len(digits) < len(p.rest) {
		if err := p.next(); err != nil {
			return 0, 0, err
		}
		if hi, err = strconv.Atoi(p.token); err != nil || hi < lo {
			return 0, 0, p.errorf("%d to %q times", lo, p.token)
		}
	}
	return lo, hi, p.next()
}
