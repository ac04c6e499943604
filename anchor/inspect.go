package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"trailmark/anchor/internal/inspect"
	"trailmark/internal/command"
	"trailmark/passport"
)

const inspectIntro = `anchor inspect prints what is in a passport, trust file, statement, receipt or
checkpoint note, as CBOR diagnostic notation (RFC 8949 section 8) with names as
comments. It verifies nothing, and reads damaged files as far as they go.

Example:

  anchor inspect item.passport
  anchor inspect --full --all item.passport

Exit codes: 0 printed, 1 damaged (the byte is named) or not readable, 2 usage.
`

func inspectFile(args []string, stdout io.Writer) error {
	f := command.NewFlags("anchor inspect")
	full := f.Bool("full", false, "print whole hashes, byte strings and texts")
	all := f.Bool("all", false, "print every element of long arrays")
	as := f.String("as", string(inspect.Auto), fmt.Sprintf("`kind` of the file, one of %v", inspect.Kinds()))
	path, err := parse(f, args, nil, "", inspectIntro, stdout)
	if err != nil {
		return err
	}
	kind := inspect.Kind(*as)
	if !slices.Contains(inspect.Kinds(), kind) {
		return command.Usagef("kind %q is none of %v", *as, inspect.Kinds())
	}
	data, err := readLimited(path, passport.MaxAudit, "")
	if err != nil {
		return err
	}
	err = inspect.Print(stdout, data, inspect.Options{As: kind, Full: *full, All: *all})
	var damage *inspect.Damage
	if errors.As(err, &damage) {
		return fmt.Errorf("%s is %w", path, damage)
	}
	return err
}
