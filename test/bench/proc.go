package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of /proc/<pid>/stat: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpuTime is the processor time that a process, or the machine, has used.
type cpuTime struct{ user, system time.Duration }

func (c cpuTime) total() time.Duration    { return c.user + c.system }
func (c cpuTime) minus(o cpuTime) cpuTime { return cpuTime{c.user - o.user, c.system - o.system} }
func (c cpuTime) plus(o cpuTime) cpuTime  { return cpuTime{c.user + o.user, c.system + o.system} }

// ticks reads a count of ticks, which the kernel wrote.
func ticks(field string) time.Duration {
	n, _ := strconv.ParseInt(field, 10, 64)
	return time.Duration(n) * tick
}

// processCPU returns the processor time of a process with all its threads.
func processCPU(pid int) (cpuTime, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return cpuTime{}, err
	}
	// The name may hold blanks and parentheses: fields are counted from the last ")".
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const utime, stime = 14 - 3, 15 - 3 // proc(5) counts from 1, and f begins with the third
	return cpuTime{ticks(f[utime]), ticks(f[stime])}, nil
}

// machineUser returns the time that the processors have spent in anybody's user code,
// and the time that a hypervisor has taken from them.
func machineUser() (user, stolen time.Duration, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, err
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	f := strings.Fields(line) // cpu user nice system idle iowait irq softirq steal …
	return ticks(f[1]) + ticks(f[2]), ticks(f[8]), nil
}
