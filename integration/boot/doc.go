// Package boot tests that mappings are there after a reboot, on real systems that really boot: Debian, with systemd as
// its first process, the package installed by dpkg, and a server that is a unit of its own user.
//
//	test.sh      what `make test-boot` runs: tools, image, packages, then the tests
//	image.sh     makes the root file systems of the guests, once; they are kept in the user's cache
//	guest/       what is put into a guest; steps.sh and its parts say what each step does
//	paste_test   what the README and the pages in docs/ have a user paste, pasted in a guest
//	plan_test    the plans: which steps a guest goes through, with reboots between, and what must come of them
//	nspawn_test  a guest in systemd-nspawn: this machine's kernel, two boots in a second or two
//	qemu_test    a guest in qemu: Debian's own kernel and a true reboot; slow where it is emulated
//	packages_test
//	             the packages without a boot: by dpkg, rpm and pacman in a root where nothing runs,
//	             and on a host of OpenRC's
//
// The two kinds of guests start from the same files and go through the same steps. A guest says PASS or FAIL for each
// step on its console, and this is the verdict: an exit code alone proves nothing.
//
// The tests have the build tag boot and need root. They run in namespaces of their own; the guests have no network but
// their own.
package boot
