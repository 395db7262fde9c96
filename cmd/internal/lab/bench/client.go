package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"resilver/cmd/internal/lab"
)

// clientWait is how long a client waits for an answer before it tries anew.
const clientWait = 2 * time.Second

// client is an ordinary reader of the replica: it asks for one row again and
// again, over TCP, and remembers the longest time without an answer.
type client struct {
	db     *sql.DB
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	last    time.Time // when it was last answered
	longest time.Duration
	err     error // of the last try
}

// watchClient begins to read; nil, which watches nothing, where no figure is
// wanted.
func (s *site) watchClient(ctx context.Context, figure string) (*client, error) {
	if figure == "" {
		return nil, nil
	}
	db, err := s.openTCP(s.replica)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &client{db: db, cancel: cancel}
	if err := c.ask(ctx); err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("read as a client: %w", err), db.Close())
	}
	c.last = time.Now()
	c.wg.Go(func() { c.run(ctx) })
	return c, nil
}

func (c *client) run(ctx context.Context) {
	tick := time.NewTicker(quick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := c.ask(ctx)
		now := time.Now()
		c.mu.Lock()
		c.err = err
		if err == nil {
			c.longest, c.last = max(c.longest, now.Sub(c.last)), now
		}
		c.mu.Unlock()
	}
}

func (c *client) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clientWait)
	defer cancel()
	var n int
	return c.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM lab.bulk WHERE id = 1").Scan(&n)
}

// noteAs waits until the client is answered again, and keeps the longest time
// without.
func (c *client) noteAs(ctx context.Context, s *site, figure string) error {
	if c == nil {
		return nil
	}
	since := time.Now()
	err := poll(ctx, bootDeadline, quick, "a client to be answered", func(context.Context) (bool, string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.last.After(since), fmt.Sprint(c.err)
	})
	c.stop()
	if err != nil {
		return err
	}
	s.note(figure, c.longest.Seconds())
	return nil
}

// stop ends it; it may be called more than once.
func (c *client) stop() {
	if c == nil {
		return
	}
	c.cancel()
	c.wg.Wait()
	_ = c.db.Close() // nothing is kept of it
}

// openTCP prepares connections of the ordinary account.
func (s *site) openTCP(n *lab.Node) (*sql.DB, error) {
	conf := mysql.NewConfig()
	conf.User, conf.Passwd, conf.Net = reader, s.password, "tcp"
	conf.Addr = net.JoinHostPort(n.Address, strconv.Itoa(n.Port))
	conf.Timeout, conf.AllowNativePasswords = time.Second, true
	conf.Logger = &mysql.NopLogger{} // what it would log comes as an error too
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return nil, fmt.Errorf("prepare a client: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}
