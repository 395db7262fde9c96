package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"resilver/cmd/internal/lab"
	"resilver/cmd/internal/lab/bench"
	"resilver/config"
)

// benchFlags are what a person says of a bench.
type benchFlags struct {
	engines  []string
	data     string
	small    string
	pool     string
	output   string
	markdown string
	from     []string
	strict   bool
}

func benchCmd() *cobra.Command {
	o := bench.Options{Out: os.Stderr}
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the copy, the outage and the idle sidecar, beside what they are held against",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.read(&o); err != nil {
				return usageError{err}
			}
			results, err := f.results(cmd, o)
			if err != nil {
				return err
			}
			return f.show(cmd, results)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.engines, "engine", lab.Engines(), "the database engines, one after the other")
	flags.StringVar(&f.data, "data", "1GiB", "size of the data on each server")
	flags.StringVar(&f.small, "small", "200MiB", "size of the cluster that outages are compared with")
	flags.StringVar(&f.pool, "pool", "1GiB", "buffer pool of each server")
	flags.IntVar(&o.Rounds, "rounds", 3, "how often everything is measured")
	flags.IntVar(&o.Rate, "rate", 500, "rows a second that are written where there is load")
	flags.DurationVar(&o.Soak, "soak", 10*time.Second, "how long they are written before anything is measured there")
	flags.DurationVar(&o.Idle, "idle", time.Minute, "how long idle sidecars are watched")
	flags.StringVarP(&f.output, "output", "o", "text", "text or json")
	flags.StringVar(&f.markdown, "markdown", "", "write the page of performance to this file")
	flags.StringArrayVar(&f.from, "from", nil, "measure nothing, and take the results from this file of -o json")
	flags.BoolVar(&f.strict, "strict", false, "fail where a goal is not met")
	binaryFlag(cmd, &o.Binary)
	return cmd
}

// read checks the flags.
func (f *benchFlags) read(o *bench.Options) error {
	if f.output != "text" && f.output != "json" {
		return fmt.Errorf("output %q: want text or json", f.output)
	}
	for _, size := range []struct {
		text string
		mb   *int
	}{{f.data, &o.DataMB}, {f.small, &o.SmallMB}, {f.pool, &o.PoolMB}} {
		n, err := config.ParseSize(size.text)
		if err != nil {
			return fmt.Errorf("size %q: %w", size.text, err)
		}
		*size.mb = int(n / 1e6)
	}
	o.Command = strings.Join(append([]string{"resilver-lab"}, os.Args[1:]...), " ")
	return nil
}

// results are of runs now, or of those that files tell of.
func (f *benchFlags) results(cmd *cobra.Command, o bench.Options) ([]*bench.Result, error) {
	var all []*bench.Result
	for _, file := range f.from {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read a result: %w", err)
		}
		var some []*bench.Result
		if err := json.Unmarshal(text, &some); err != nil {
			return nil, fmt.Errorf("read a result: %s: %w", file, err)
		}
		all = append(all, some...)
	}
	if len(f.from) > 0 {
		return all, nil
	}
	for _, o.Engine = range f.engines {
		result, err := bench.Run(cmd.Context(), o)
		if err != nil {
			return nil, fmt.Errorf("bench of %s: %w", o.Engine, err)
		}
		all = append(all, result)
	}
	return all, nil
}

func (f *benchFlags) show(cmd *cobra.Command, results []*bench.Result) error {
	if f.output == "json" {
		text, err := json.MarshalIndent(results, "", "  ")
		if err != nil {
			return fmt.Errorf("print the results: %w", err)
		}
		cmd.Println(string(text))
	} else {
		for _, r := range results {
			cmd.Println(r.Text())
		}
	}
	if f.markdown != "" {
		page, err := bench.Document(results)
		if err != nil {
			return err
		}
		if err := renameio.WriteFile(f.markdown, page, 0o644); err != nil {
			return fmt.Errorf("write the page: %w", err)
		}
	}
	for _, r := range results {
		if f.strict && !r.Met() {
			return errors.New("a goal was not met")
		}
	}
	return nil
}
