package main

import (
	"context"
	"io"
	"time"

	"trailmark/gateway/app"
	"trailmark/internal/command"
)

const productIntro = `gateway product signs, with the brand's key, what a GTIN is and its rule: of one
product by flags, or of a table of them.

A table is CSV with a row of headers, in Chinese or in English:

  商品条码,名称,英文名称,温度范围,允许超标时间,规则
  GTIN,name (zh-CN),name (en),band,allowed,rule

The band is in °C, as 2..8; the allowed time is in minutes; a rule (who-1, who-2)
stands instead of both. UTF-8, also with a byte order mark, and GB18030 are read.
--csv says what would become of each line and writes nothing; with --apply it
signs what is new or changed, all lines or none. It works beside a running gateway.

Examples:

  gateway product --dir data --gtin 09521234543213 --name "zh-CN=示例疫苗,en=Sample vaccine" --band 2..8
  gateway product --dir data --csv products.csv
  gateway product --dir data --csv products.csv --apply
  gateway product --dir data --export products.csv --lang en
`

func product(ctx context.Context, args, environ []string, stdout io.Writer) error {
	f, logs := newFlags("gateway product")
	c := app.ProductConfig{Name: "zh-CN=示例疫苗,en=Sample vaccine", Band: "2..8"}
	f.StringVar(&c.Dir, "dir", "data", "the gateway's `folder`")
	f.StringVar(&c.GTIN, "gtin", "", "8, 12, 13 or 14 `digits`")
	f.StringVar(&c.Name, "name", c.Name, "`names` of the product")
	f.StringVar(&c.Band, "band", c.Band, "temperature `band` in °C, its ends still in")
	f.DurationVar(&c.Allowed, "allowed", 0, "cumulative time beyond the band that breaks the rule; 0: any")
	f.StringVar(&c.Rule, "rule", "", "`name` of a rule instead of the band: who-1 or who-2, the alarm types of WHO PQS loggers")
	table := f.String("csv", "", "`file` of products to import")
	apply := f.Bool("apply", false, "with --csv: do it")
	export := f.String("export", "", "`file` to write all products to, - for standard output")
	lang := f.String("lang", "zh-CN", "with --export: `language` of the headers, zh-CN or en")
	if err := command.Parse(f, args, environ, prefix, productIntro, stdout); err != nil {
		return err
	}
	if _, _, err := logs.start(io.Discard); err != nil {
		return err
	}
	switch {
	case f.NArg() > 0:
		return command.Usagef("unexpected argument %q", f.Arg(0))
	case *table != "" && (*export != "" || c.GTIN != ""), *export != "" && c.GTIN != "":
		return command.Usagef("one of --gtin, --csv and --export; see gateway product --help")
	case *apply && *table == "":
		return command.Usagef("--apply goes with --csv")
	case *lang != "zh-CN" && *lang != "en":
		return command.Usagef("--lang %q is neither zh-CN nor en", *lang)
	case *table != "":
		return app.ImportProducts(ctx, c.Dir, *table, *apply, time.Now, stdout)
	case *export != "":
		return app.ExportProducts(ctx, c.Dir, *export, *lang == "zh-CN", stdout)
	}
	return app.Product(c, time.Now, stdout)
}
