package binlog

import (
	"fmt"
	"io"
	"os"
)

// Extract writes transactions, whose events are all of one format, to w as a
// log of their own, which the engine's tool replays: that format, and then
// every event as it is in its file, byte by byte, the checksum included.
func Extract(w io.Writer, list []Transaction) error {
	src := source{}
	defer src.close()
	if _, err := w.Write(magic); err != nil {
		return err
	}
	for i, t := range list {
		switch {
		case t.Format != list[0].Format:
			return fmt.Errorf("%s is in another format than %s", t.GTID, list[0].GTID)
		case i == 0:
			if err := src.copy(w, t.Format); err != nil {
				return err
			}
		}
		for _, p := range t.Events {
			if err := src.copy(w, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// source keeps the file open that was read last.
type source struct{ f *os.File }

func (s *source) copy(w io.Writer, p Part) error {
	if s.f == nil || s.f.Name() != p.File {
		s.close()
		f, err := open(p.File)
		if err != nil {
			return err
		}
		s.f = f
	}
	n, err := io.Copy(w, io.NewSectionReader(s.f, p.At, p.Length))
	if err == nil && n != p.Length {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("copy from %s at %d: %w", p.File, p.At, err)
	}
	return nil
}

func (s *source) close() {
	if s.f != nil {
		_ = s.f.Close()
		s.f = nil
	}
}
