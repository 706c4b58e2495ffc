package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/vfs"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/tiering/file"
)

func logVerifyCommand(f *flags) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:   "verify DIR…",
		Short: "Read every file of a stopped broker's directory and name each fault",
		Long: `Read every file of a log directory, of Varve or of Apache Kafka, and of the bucket in it
or of a bucket's own directory, and name each fault: file, position, offset and reason.
Nothing is changed. What a start mends by itself, as a torn end after a crash, is named,
too. The directory's lock is taken, so a broker that runs there is an error, be it of
Varve or of Apache Kafka; with
--force-read-only the lock is not asked for, and what the broker writes meanwhile may
show as faults.

Exit code 1: there are faults, or something could not be read.`,
		Example: `  varve log verify data --json`,
		Args:    someArgs("directory"),
		RunE: func(c *cobra.Command, args []string) error {
			v := verifier{p: f.printer(c), force: force}
			var errs []error
			for _, dir := range args {
				if err := v.directory(c.Context(), dir); err != nil {
					errs = append(errs, fmt.Errorf("verify %s: %w", dir, err))
				}
			}
			return errors.Join(append(errs, v.end())...)
		},
	}
	c.Flags().BoolVar(&force, "force-read-only", false, "do not ask for the directory's lock; a broker may be writing")
	return c
}

// verifier counts what it reads and prints each fault as it finds it.
type verifier struct {
	p      *printer
	force  bool
	err    error // of printing
	faults int
	logs   int
	bytes  int64
}

// maxVerified bounds the batches whose records are parsed, and what they expand to.
const maxVerified = 64 << 20

// bucketName is where the embedded bucket lies in a log directory by default.
const bucketName = "bucket"

// directory verifies a log directory with the bucket in it, or a bucket.
func (v *verifier) directory(ctx context.Context, dir string) error {
	if i, err := os.Stat(dir); err != nil {
		return cause(err)
	} else if !i.IsDir() {
		return errors.New("it is not a directory")
	}
	if isBucket(dir) {
		return v.bucket(ctx, dir)
	}
	disk := new(vfs.OS)
	if !v.force {
		lock, err := disk.Lock(filepath.Join(dir, ".lock"))
		if errors.Is(err, vfs.ErrLocked) {
			return errors.New("a broker runs on it: stop it, or read what may be changing with --force-read-only")
		} else if err != nil {
			return fmt.Errorf("take its lock, or read without it with --force-read-only: %w", cause(err))
		}
		defer lock.Close()
	}
	err := segment.InspectDir(disk, dir, maxVerified, v.fault, func(_ string, found segment.Inspection) {
		v.logs++
		v.bytes += found.Bytes
	})
	if inner := filepath.Join(dir, bucketName); err == nil && isBucket(inner) {
		err = v.bucket(ctx, inner)
	}
	return err
}

// isBucket tells a directory that holds objects by the mark of package file.
func isBucket(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, file.Mark))
	return err == nil
}

func (v *verifier) bucket(ctx context.Context, dir string) error {
	b, err := file.Open(dir)
	if err != nil {
		return err
	}
	r, err := tiering.Inspect(ctx, b)
	v.bytes += r.Bytes
	for _, f := range r.Findings {
		v.fault(segment.Fault{
			Kind: segment.FaultKind("object-" + string(f.Kind)), Path: filepath.Join(dir, filepath.FromSlash(f.Key)),
			Offset: -1, Position: -1, Reason: f.Detail,
		})
	}
	return err
}

func (v *verifier) fault(f segment.Fault) {
	v.faults++
	if v.p.json {
		v.err = errors.Join(v.err, v.p.value(f))
		return
	}
	fmt.Fprintln(v.p.out, f)
}

// end says what was read, and fails where there were faults.
func (v *verifier) end() error {
	v.p.note("verified %d logs, %s bytes", v.logs, commas(v.bytes))
	switch v.faults {
	case 0:
		return v.err
	case 1:
		return errors.Join(v.err, errors.New("1 fault"))
	}
	return errors.Join(v.err, fmt.Errorf("%d faults", v.faults))
}
