package healing

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"resilver/watchdog"
)

// smallTable is read as a whole where others are read in part, in bytes.
const smallTable = 1 << 20

// sample goes through the table that the fault names, and then, for
// verify.sample, through single chunks: one of each other table, in no order,
// and more of the large ones.
func (c *comparison) sample(ctx context.Context, tables []watchdog.TableSize) error {
	var first, once []watchdog.Walk
	total := int64(0)
	for _, t := range tables {
		total += t.Bytes
		if c.r.named(t.TableName) {
			first = append(first, watchdog.Walk{TableName: t.TableName})
			continue
		}
		once = append(once, watchdog.Walk{TableName: t.TableName, Random: t.Bytes > smallTable})
	}
	if err := c.through(ctx, first, time.Time{}); err != nil {
		return err
	}
	until := time.Now().Add(c.r.h.o.Sample)
	rand.Shuffle(len(once), func(i, j int) { once[i], once[j] = once[j], once[i] })
	if err := c.through(ctx, once, until); err != nil {
		return err
	}
	for total > 0 && time.Now().Before(until) {
		if more := weighted(tables, total); len(more) == 0 {
			return nil // all were read as a whole
		} else if err := c.through(ctx, more, until); err != nil {
			return err
		}
	}
	return nil
}

// weighted picks tables that were read in part, large ones more often.
func weighted(tables []watchdog.TableSize, total int64) []watchdog.Walk {
	var out []watchdog.Walk
	for range maxWalks {
		at := rand.Int64N(total) //nolint:gosec // a sample, no secret
		for _, t := range tables {
			if at -= t.Bytes; at < 0 {
				if t.Bytes > smallTable {
					out = append(out, watchdog.Walk{TableName: t.TableName, Random: true})
				}
				break
			}
		}
	}
	return out
}

// named says that the fault's message names a table, as of errors 1032 and
// 1062: "Could not execute Write_rows event on table shop.orders; …".
func (r *rebuild) named(t watchdog.TableName) bool {
	src := r.facts.Self.Source()
	return src != nil && strings.Contains(src.Applier.Message, " on table "+t.String()+";")
}

// lags are how far the other replicas are behind, in seconds, where they
// replicate.
func (r *rebuild) lags() map[string]float64 {
	out := map[string]float64{}
	view := r.h.o.Cluster.View()
	for name, n := range view.Nodes {
		if own := name == r.h.o.Node && !r.j.Record.Drill(); own || !n.Fresh(r.h.o.Policy.Fresh) || n.LagSeconds == nil {
			continue
		}
		out[name] = *n.LagSeconds
	}
	return out
}

// throttle waits while a replica is further behind than verify.max_lag, and
// than it was when the comparison began.
func (c *comparison) throttle(ctx context.Context) error {
	began, said := time.Now(), false
	for {
		who := ""
		for name, behind := range c.r.lags() {
			if behind > c.r.h.o.MaxLag.Seconds() && behind > c.lag[name] {
				who = fmt.Sprintf("%s is %.0f s behind", name, behind)
			}
		}
		switch {
		case who == "":
			return nil
		case time.Since(began) > c.patience:
			return fmt.Errorf("%w: verify.checksum: %s, for %s", errCancelled, who, c.patience)
		case !said:
			c.r.log.Info("comparison waits", "reason", who)
			said = true
		}
		if err := wait(ctx, time.Second); err != nil {
			return err
		}
	}
}

// differs words the first difference.
func (r *rebuild) differs(primary string, all []difference) error {
	d := all[0]
	err := fmt.Errorf("the copy from %s differs from the primary %s in table %s, %s: %s there, %s in the copy, at %s",
		r.j.Record.Donor, primary, d.there.TableName, rangeText(d.there), chunkText(d.there, d.there), chunkText(d.here, d.there), shorten(d.position, 300))
	if more := len(all) - 1; more > 0 {
		err = fmt.Errorf("%w; and in %d more ranges", err, more)
	}
	r.log.Error("copy differs from the primary", "error", err)
	return err
}

func chunkText(c, other watchdog.Chunk) string {
	switch {
	case c.Rows < 0:
		return "no such table"
	case c.Shape != other.Shape:
		return "other columns"
	}
	return fmt.Sprintf("%d rows with checksum %s", c.Rows, c.Sum)
}

func rangeText(c watchdog.Chunk) string {
	switch {
	case c.After == nil && c.Upto == nil:
		return "all rows"
	case c.After == nil:
		return "keys up to " + keyText(c.Upto)
	case c.Upto == nil:
		return "keys after " + keyText(c.After)
	}
	return "keys after " + keyText(c.After) + " up to " + keyText(c.Upto)
}

// keyText is a key for a person: texts as such where they can be read.
func keyText(key watchdog.Key) string {
	var out []string
	for _, v := range key {
		if digits, ok := strings.CutPrefix(v, "0x"); ok {
			if b, err := hex.DecodeString(digits); err == nil && utf8.Valid(b) && !strings.ContainsFunc(string(b), func(c rune) bool { return !unicode.IsPrint(c) }) {
				v = fmt.Sprintf("%q", b)
			}
		}
		out = append(out, shorten(v, 80))
	}
	return "(" + strings.Join(out, ", ") + ")"
}

func shorten(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
