package main

import (
	"context"
	"io"

	"trailmark/gateway/app"
	"trailmark/internal/command"
)

const fsckIntro = `gateway fsck recomputes what is stored from the bytes that somebody signed: every
statement, chain and trace, every derived table, the ledger's tree, every anchor.
It changes nothing and may run beside the gateway, or on a backup.

One line on standard output names each damaged row or file. Exit 0: nothing is
damaged; 1: something is; 2: the command line was wrong.

Example:

  gateway fsck --dir data
`

func fsck(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	f, logs := newFlags("gateway fsck")
	dir := f.String("dir", "data", "the gateway's `folder`, or a backup")
	asJSON := f.Bool("json", false, "one JSON object a line, the last one a summary")
	if err := command.Parse(f, args, environ, prefix, fsckIntro, stdout); err != nil {
		return err
	}
	_, stderr, err := logs.start(stderr)
	if err != nil {
		return err
	}
	if f.NArg() > 0 {
		return command.Usagef("unexpected argument %q", f.Arg(0))
	}
	damaged, err := app.Fsck(ctx, *dir, *asJSON, stdout, stderr)
	if err == nil && damaged {
		return command.Exit(1)
	}
	return err
}

const backupIntro = `gateway backup copies a gateway's folder while the gateway runs, and checks the copy
as gateway fsck does. Not in it: the authority's keys, ever; all other keys, unless
--with-keys asks for them; the broker's queue.

Example:

  gateway backup --dir data --to /mnt/backup/2026-11-24
`

func backup(ctx context.Context, args, environ []string, stdout, stderr io.Writer) error {
	f, logs := newFlags("gateway backup")
	dir := f.String("dir", "data", "the gateway's `folder`")
	to := f.String("to", "", "new `folder` for the backup")
	keys := f.Bool("with-keys", false, "with the keys of site, brand, ledger, chain and CA: whoever reads it can act as the gateway")
	if err := command.Parse(f, args, environ, prefix, backupIntro, stdout); err != nil {
		return err
	}
	_, stderr, err := logs.start(stderr)
	if err != nil {
		return err
	}
	if *to == "" || f.NArg() > 0 {
		return command.Usagef("where to? see gateway backup --help")
	}
	return app.Backup(ctx, *dir, *to, *keys, stdout, stderr)
}

const restoreIntro = `gateway restore puts a backup into a new folder. A gateway started there signs
nothing until every device has been heard, and refuses for good if one of them has
verified more of the ledger than the backup holds: it would make a second history.

With --store-only the database alone goes into a gateway's folder that has lost
its own; ledger and chain are still there. The gateway then asks the devices for
what is missing since.

Example:

  gateway restore --from /mnt/backup/2026-11-24 --dir data
`

func restore(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f, logs := newFlags("gateway restore")
	from := f.String("from", "", "`folder` of the backup")
	dir := f.String("dir", "", "new `folder`; with --store-only the gateway's")
	storeOnly := f.Bool("store-only", false, "the database alone, into a folder that has lost it")
	if err := command.Parse(f, args, environ, prefix, restoreIntro, stdout); err != nil {
		return err
	}
	if _, _, err := logs.start(io.Discard); err != nil {
		return err
	}
	if *from == "" || *dir == "" || f.NArg() > 0 {
		return command.Usagef("from where to where? see gateway restore --help")
	}
	return app.Restore(ctx, *from, *dir, *storeOnly, stdout)
}
