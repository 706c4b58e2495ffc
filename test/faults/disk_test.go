//go:build faults

package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// diskBytes is the size of a disk: XFS asks for 300 MB at least.
const diskBytes = 320 << 20

// disk is a loopback file system.
type disk struct {
	t     testing.TB
	image string
	Dir   string // where it is mounted
}

// newDisk makes and mounts a file system of the given kind.
func newDisk(t testing.TB, kind string) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("precondition: mounting a file system needs root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Fatalf("precondition: there are no loop devices: %v", err)
	}
	mkfs := map[string][]string{"ext4": {"-q", "-F", "-m", "0"}, "xfs": {"-q", "-f"}}[kind]
	if _, err := exec.LookPath("mkfs." + kind); err != nil {
		t.Fatalf("precondition: mkfs.%s is missing: run `make faults`, which installs it", kind)
	}
	house := t.TempDir()
	d := &disk{t: t, image: filepath.Join(house, "image"), Dir: filepath.Join(house, "mnt")}
	f, err := os.Create(d.image)
	if err == nil {
		err = f.Truncate(diskBytes)
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
	t.Cleanup(func() { _ = exec.Command("umount", d.Dir).Run() }) // it may not be mounted
	return d
}

func (d *disk) run(name string, args ...string) {
	d.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		d.t.Fatalf("precondition: %s %v: %v: %s", name, args, err, out)
	}
}

// Mount mounts the disk, which replays its journal.
func (d *disk) Mount() { d.t.Helper(); d.run("mount", "-o", "loop", d.image, d.Dir) }

// Unmount unmounts the disk.
func (d *disk) Unmount() { d.t.Helper(); d.run("umount", d.Dir) }

const (
	ioctlShutdown = 0x8004587d // EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one
	noLogFlush    = 2
)

// Cut takes the power away: nothing reaches the disk any more, what was not synced is
// lost, and every write fails with EIO.
func (d *disk) Cut() {
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
func (d *disk) Fill(leave int64) (free func()) {
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
