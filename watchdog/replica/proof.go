package replica

import "sync"

// proof remembers who answered at a source's address. MariaDB goes on showing
// the server_id of the last source that it was connected to after it was told
// to use another (tried on 10.11), so that the number counts only once the
// receiver has been connected since.
type proof struct {
	mu     sync.Mutex
	source string // connection and address
	id     int    // server_id
}

// identity is who the source is, empty where that is not proven.
func (p *proof) identity(source string, id int, connected bool) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if connected {
		p.source, p.id = source, id
	}
	if p.source != source || p.id != id {
		return ""
	}
	return identity(id)
}
