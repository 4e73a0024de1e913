package kubelet

import (
	"os"
	"os/exec"
)

// fakeCommand stands for a process that runs.
func fakeCommand() *exec.Cmd { return &exec.Cmd{Process: &os.Process{Pid: 1}} }
