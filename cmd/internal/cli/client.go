package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"resilver/watchdog/admin"
)

// How long the daemon may take to answer.
const (
	quickAnswer = 30 * time.Second
	weighAnswer = 4 * time.Minute // a plan, or the grant of a rebuild
)

// ask runs do with a connection to the daemon and a deadline.
func (a *app) ask(c *cobra.Command, limit time.Duration, do func(ctx context.Context, daemon *admin.Client) error) error {
	daemon, err := admin.Dial(a.socket)
	if err != nil {
		return err
	}
	defer daemon.Close()
	ctx, cancel := context.WithTimeout(c.Context(), limit)
	defer cancel()
	return do(ctx, daemon)
}

// show prints the JSON of a route as it came, or its value as text.
func show[T any](a *app, c *cobra.Command, route string, get func(*admin.Client, context.Context) (T, error), text func(T)) error {
	limit := quickAnswer
	if strings.HasPrefix(route, "plan") {
		limit = weighAnswer
	}
	return a.ask(c, limit, func(ctx context.Context, daemon *admin.Client) error {
		if a.json() {
			raw, err := daemon.Get(ctx, route)
			if err != nil {
				return err
			}
			return a.printJSON(raw)
		}
		value, err := get(daemon, ctx)
		if err != nil {
			return err
		}
		text(value)
		return nil
	})
}
