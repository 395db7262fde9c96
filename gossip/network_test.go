package gossip

import (
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// network is a network in memory whose links can be cut: packets over a cut
// link vanish, and dials hang until they time out.
type network struct {
	mu    sync.Mutex
	nodes map[string]*memTransport
	cut   map[[2]string]bool
}

func newNetwork() *network {
	return &network{nodes: map[string]*memTransport{}, cut: map[[2]string]bool{}}
}

// isolate cuts or mends every link of one address.
func (n *network) isolate(addr string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other := range n.nodes {
		n.cut[[2]string{addr, other}] = cut
		n.cut[[2]string{other, addr}] = cut
	}
}

func (n *network) reach(from, to string) *memTransport {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut[[2]string{from, to}] {
		return nil
	}
	return n.nodes[to]
}

func (n *network) add(ip string) *memTransport {
	t := &memTransport{net: n, addr: net.JoinHostPort(ip, "7373"), packets: make(chan *memberlist.Packet, 1024),
		streams: make(chan net.Conn, 64), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[t.addr] = t
	return t
}

type memTransport struct {
	net     *network
	addr    string
	packets chan *memberlist.Packet
	streams chan net.Conn
	done    chan struct{}
	once    sync.Once
}

type memAddr string

func (memAddr) Network() string  { return "mem" }
func (a memAddr) String() string { return string(a) }

func (t *memTransport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	host, port, err := net.SplitHostPort(t.addr)
	if err != nil {
		return nil, 0, err
	}
	p, err := strconv.Atoi(port)
	return net.ParseIP(host).To4(), p, err
}

func (t *memTransport) WriteTo(b []byte, addr string) (time.Time, error) {
	now := time.Now()
	if to := t.net.reach(t.addr, addr); to != nil {
		select {
		case to.packets <- &memberlist.Packet{Buf: append([]byte{}, b...), From: memAddr(t.addr), Timestamp: now}:
		default:
		}
	}
	return now, nil
}

func (t *memTransport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

func (t *memTransport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	to := t.net.reach(t.addr, addr)
	if to == nil {
		select {
		case <-time.After(timeout):
		case <-t.done:
		}
		return nil, fmt.Errorf("dial %s: timed out", addr)
	}
	near, far := net.Pipe()
	select {
	case to.streams <- far:
		return near, nil
	case <-to.done:
		return nil, fmt.Errorf("dial %s: refused", addr)
	}
}

func (t *memTransport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

func (t *memTransport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *memTransport) StreamCh() <-chan net.Conn           { return t.streams }
func (t *memTransport) Shutdown() error {
	t.once.Do(func() { close(t.done) })
	return nil
}
