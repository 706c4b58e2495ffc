// Package faults breaks real file systems under a running broker: it fills them, and
// cuts their power. Each test makes loopback file systems of its own (ext4, XFS), which
// takes root and loop devices; where those are missing a test fails and says so. Its
// tests carry the build tag faults and run by `make faults`.
//
// A power cut is the file system's shutdown ioctl without a flush of its journal: what
// was not synced is gone, as if the machine had lost power, while the test goes on.
package faults
