// The program stands for Percona's xtrabackup, which the tests cannot have: it
// takes the same options, writes the same files beside the data and the same
// last line, and ends with the same statuses. Its copy is a real and
// consistent one of a running server, but made by MySQL's own CLONE LOCAL, so
// it proves the way of the bytes and not Percona's tool.
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	_ "github.com/go-sql-driver/mysql"
)

func main() {
	f := flag.NewFlagSet("xtrabackup", flag.ExitOnError)
	version := f.Bool("version", false, "")
	backup := f.Bool("backup", false, "")
	prepare := f.Bool("prepare", false, "")
	stream := f.String("stream", "", "")
	socket := f.String("socket", "", "")
	user := f.String("user", "", "")
	target := f.String("target-dir", "", "")
	f.String("defaults-file", "", "")
	f.Bool("no-defaults", false, "")
	f.Bool("slave-info", false, "")
	f.Int("parallel", 1, "")
	f.Int("throttle", 0, "")
	f.Int64("use-memory", 0, "")
	_ = f.Parse(os.Args[1:])
	var err error
	switch {
	case *version:
		fmt.Println("xtrabackup version 9.7.4-1 based on MySQL server 9.7.4 Linux (x86_64) (revision id: 00000000)")
		return
	case *backup && *stream == "xbstream" && *socket != "" && *target != "":
		err = takeBackup(*user, *socket, *target)
	case *prepare && *target != "":
		err = applyLog(*target)
	default:
		err = fmt.Errorf("not understood: %v", os.Args[1:])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "2026-01-01T00:00:00.000000-00:00 0 [ERROR] [MY-011825] [Xtrabackup] %v\n", err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "2026-01-01T00:00:00.000000-00:00 0 [Note] [MY-011825] [Xtrabackup] completed OK!")
}

func takeBackup(user, socket, target string) error {
	ctx := context.Background()
	db, err := sql.Open("mysql", user+"@unix("+socket+")/?interpolateParams=true")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	dir := filepath.Join(target, "clone")
	lock, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	// Where Percona's reads the position from performance_schema.log_status,
	// this one lets nobody write while it copies.
	if _, err := lock.ExecContext(ctx, "FLUSH TABLES WITH READ LOCK"); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	var file, gtids, ignored string
	var at int64
	if err := lock.QueryRowContext(ctx, "SHOW BINARY LOG STATUS").Scan(&file, &at, &ignored, &ignored, &gtids); err != nil {
		return fmt.Errorf("read the position: %w", err)
	}
	if _, err := db.ExecContext(ctx, "CLONE LOCAL DATA DIRECTORY = '"+dir+"'"); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if _, err := lock.ExecContext(ctx, "UNLOCK TABLES"); err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	info := fmt.Sprintf("%s\t%d\t%s\n", file, at, gtids)
	for name, text := range map[string]string{"xtrabackup_binlog_info": info, "xtrabackup_checkpoints": checkpoints("full-backuped")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o640); err != nil {
			return err
		}
	}
	return send(dir)
}

// send streams a directory with the packer beside this program.
func send(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"-c"}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			args = append(args, strings.TrimPrefix(path, dir+"/"))
		}
		return err
	})
	if err != nil {
		return err
	}
	pack := exec.Command(filepath.Join(filepath.Dir(self), "xbstream"), args...)
	pack.Dir, pack.Stdout, pack.Stderr = dir, os.Stdout, os.Stderr
	return pack.Run()
}

func applyLog(target string) error {
	path := filepath.Join(target, "xtrabackup_checkpoints")
	is, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(is), "backup_type = full-backuped\n") {
		return fmt.Errorf("this target is not a backup: %q", is)
	}
	// CLONE leaves this directory empty, and a stream knows only files.
	if err := os.MkdirAll(filepath.Join(target, "mysql"), 0o750); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(checkpoints("full-prepared")), 0o640)
}

func checkpoints(kind string) string {
	return "backup_type = " + kind + "\nfrom_lsn = 0\nto_lsn = 20000000\nlast_lsn = 20000000\nflushed_lsn = 20000000\nredo_memory = 0\nredo_frames = 0\n"
}
