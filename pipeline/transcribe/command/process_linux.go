package command

import "syscall"

// attributes put the process into a group of its own, out of the terminal's
// reach (the server decides when it ends) and killable with its children. The
// kernel kills it when the server dies without a word; most would end by
// themselves at the end of their stdin, one that hangs would not. The signal
// comes when the thread ends that started the process: see Stream.run.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
