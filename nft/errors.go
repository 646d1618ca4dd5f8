package nft

import (
	"errors"
	"fmt"
	"os"

	"portmap/rules"

	"golang.org/x/sys/unix"
)

// ErrMissing says that the kernel has no nf_tables. Open finds that out if there is no nfnetlink either, Present
// otherwise.
var ErrMissing = errors.New("this kernel has no nf_tables")

// ForeignError says that something of somebody else is in the way: a table of our name, or an object in our
// table. Nothing of it was changed.
type ForeignError struct {
	What string // one phrase
	Fix  string // what to do about it, with the command that deletes it
}

func (e *ForeignError) Error() string { return e.What }

// Remedy returns what to do about it.
func (e *ForeignError) Remedy() string { return e.Fix }

// OwnedError says that another process owns the table, so that the kernel lets nobody else change it (`flags owner`).
type OwnedError struct {
	Port uint32 // the netlink port of that process: mostly its process id
}

func (e *OwnedError) Error() string {
	return fmt.Sprintf("the table inet %s is owned by another process (netlink port %d), which alone may change it",
		tableName, e.Port)
}

// Remedy returns how to find the process.
func (e *OwnedError) Remedy() string {
	return "end that process, or have it delete the table; this shows it beside its port: sudo ss -f netlink -np"
}

// isAbsent reports whether the kernel has no object of that name.
func isAbsent(err error) bool { return errors.Is(err, unix.ENOENT) }

// inDoubt reports whether an error leaves open what the kernel did: the answer was lost, not the request. An
// error of recvmsg(2) is one in the way of the answer; one in the answer has no system call (netlink.OpError).
func inDoubt(err error) bool {
	var call *os.SyscallError
	return errors.Is(err, unix.ENOBUFS) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &call) && call.Syscall == "recvmsg"
}

// kernelError names the subsystem. Of an error message it keeps the first errno: the others follow from it.
func kernelError(err error) error {
	var errno unix.Errno
	switch {
	case err == nil:
		return nil
	case inDoubt(err):
		return err
	case errors.As(err, &errno):
		return fmt.Errorf("nf_tables: %w", errno)
	}
	return fmt.Errorf("nf_tables: %w", err)
}

// drift turns the kernel's ways to say "that is not what is here" into [rules.ErrDrift].
func drift(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w (%w)", rules.ErrDrift, kernelError(err))
	}
	return kernelError(err)
}
