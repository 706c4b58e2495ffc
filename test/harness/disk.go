package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Disk is a file system of its own in a sparse file, over a loop device. It takes root.
type Disk struct {
	t       testing.TB
	image   string
	options string // of mount
	mounted bool
	Dir     string // where it is mounted
}

// NewDisk makes and mounts a file system, "ext4" or "xfs", of so many bytes (XFS asks for
// 300 MB at least), with further options of mount if there are any. It is unmounted and
// removed when the test ends.
func NewDisk(t testing.TB, kind string, size int64, options ...string) *Disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("precondition: mounting a file system needs root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Fatalf("precondition: there are no loop devices: %v", err)
	}
	mkfs := map[string][]string{"ext4": {"-q", "-F", "-m", "0"}, "xfs": {"-q", "-f", "-m", "reflink=1"}}[kind]
	if _, err := exec.LookPath("mkfs." + kind); err != nil {
		t.Fatalf("precondition: mkfs.%s is missing: run `bash test/tools/install.sh disks`", kind)
	}
	house := t.TempDir()
	d := &Disk{
		t: t, image: filepath.Join(house, "image"), Dir: filepath.Join(house, "mnt"),
		options: strings.Join(append([]string{"loop"}, options...), ","),
	}
	f, err := os.Create(d.image)
	if err == nil {
		err = f.Truncate(size)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	d.run("mkfs."+kind, append(mkfs, d.image)...)
	if err := os.Mkdir(d.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	d.Mount()
	t.Cleanup(func() {
		if d.mounted {
			d.Unmount()
		}
	})
	return d
}

func (d *Disk) run(name string, args ...string) string {
	d.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		d.t.Fatalf("precondition: %s %v: %v: %s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Mount mounts the disk, which replays its journal.
func (d *Disk) Mount() {
	d.t.Helper()
	d.run("mount", "-o", d.options, d.image, d.Dir)
	d.mounted = true
}

// Unmount unmounts the disk. The kernel gives the loop device back.
func (d *Disk) Unmount() {
	d.t.Helper()
	d.run("umount", d.Dir)
	d.mounted = false
}

// Bypass keeps the image out of the page cache until the disk is mounted again: what the
// disk's own files do not have there is read from below.
func (d *Disk) Bypass() {
	d.t.Helper()
	d.run("losetup", "--direct-io=on", d.run("findmnt", "-n", "-o", "SOURCE", d.Dir))
}

const (
	ioctlShutdown = 0x8004587d // EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one
	noLogFlush    = 2
)

// Cut takes the power away: nothing reaches the disk any more, what was not synced is
// lost, and every write fails with EIO.
func (d *Disk) Cut() {
	d.t.Helper()
	fd, err := unix.Open(d.Dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer unix.Close(fd)
	flags := uint32(noLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), ioctlShutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		d.t.Fatalf("precondition: the file system has no shutdown ioctl: %v", errno)
	}
}

// Fill takes all of the disk's space but leave bytes, and returns what frees it again.
func (d *Disk) Fill(leave int64) (free func()) {
	d.t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(d.Dir, &st); err != nil {
		d.t.Fatal(err)
	}
	ballast := filepath.Join(d.Dir, "ballast")
	f, err := os.Create(ballast)
	if err == nil {
		err = unix.Fallocate(int(f.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-leave)
		f.Close()
	}
	if err != nil {
		d.t.Fatal(fmt.Errorf("fill %s: %w", d.Dir, err))
	}
	return func() {
		d.t.Helper()
		if err := os.Remove(ballast); err != nil {
			d.t.Fatal(err)
		}
	}
}
