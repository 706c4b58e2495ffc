package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// directory is the metadata directory of a broker, locked against other processes:
//
//	LOCK   flock(2)
//	id     random id of the directory, made once
//	etcd/  the embedded etcd
type directory struct {
	path string
	id   string
	lock *os.File
}

// openDirectory makes, locks and identifies a directory; none where path is empty. It
// returns ErrLocked when another process has it.
func openDirectory(path string) (_ *directory, err error) {
	if path == "" {
		return nil, nil
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make the metadata directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the metadata directory: %w", err)
	}
	d := &directory{path: path, lock: lock}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s: stop the other broker or choose another directory", ErrLocked, path)
		}
		return nil, fmt.Errorf("lock the metadata directory %s: %w", path, err)
	}
	if d.id, err = directoryID(filepath.Join(path, "id")); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *directory) etcd() string { return filepath.Join(d.path, "etcd") }

func (d *directory) close() error {
	if err := d.lock.Close(); err != nil {
		return fmt.Errorf("unlock the metadata directory: %w", err)
	}
	return nil
}

// directoryID reads the id in the file, or makes one that survives a crash.
func directoryID(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err == nil {
		id := strings.TrimSpace(string(b))
		if _, ok := parseTopic(id); !ok {
			return "", fmt.Errorf("%s: %q is not a directory id; remove the file to make a new one", file, id)
		}
		return id, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the directory id: %w", err)
	}
	id, err := newID()
	if err != nil {
		return "", err
	}
	if err := writeFile(file, topicName(id)+"\n"); err != nil {
		return "", fmt.Errorf("write the directory id: %w", err)
	}
	return topicName(id), nil
}

// writeFile writes a whole file or none: temporary file, sync, rename, sync.
func writeFile(name, content string) error {
	temporary := name + ".tmp"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
