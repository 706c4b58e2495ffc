package main

import "golang.org/x/sys/unix"

// touchMemory makes the kernel hold so many bytes of free memory that are really there.
//
// A virtual machine may give free memory back to its host (free page reporting), and
// then whoever writes to it first pays for a fault of the host: 1.5 to 2 CPU seconds per
// GB on the machine where this was found, against 0.2 for the copy into the page cache
// itself. Which of two brokers hits such pages is chance. So as many as a measurement
// will need are touched just before it, as huge pages, which is how the page cache takes
// them; the kernel hands out again first what was freed last.
func touchMemory(e *env, bytes int64) {
	if bytes == 0 {
		return
	}
	b, err := unix.Mmap(-1, 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	e.check(err)
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // a kernel without them gives small ones
	const page = 4096
	for i := 0; i < len(b); i += page {
		b[i] = 1
	}
	e.check(unix.Munmap(b))
}
