//go:build !linux

package stores

import "os/exec"

// dieWithParent is Linux's; elsewhere a killed test leaves its servers behind.
func dieWithParent(*exec.Cmd) {}
