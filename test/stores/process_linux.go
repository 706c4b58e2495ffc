package stores

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends the child also when the test is killed and cleans up nothing.
func dieWithParent(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
