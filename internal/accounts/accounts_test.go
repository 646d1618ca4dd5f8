package accounts

import "testing"

func TestUsers(t *testing.T) {
	var u Users
	for range 2 {
		if uid, err := u.UID("root"); uid != 0 || err != nil {
			t.Errorf("root: %d, %v", uid, err)
		}
		if uid, err := u.UID("nobodyknows"); err == nil || err.Error() != "no such user on this host" {
			t.Errorf("an unknown user: %d, %v", uid, err)
		}
	}
	if name := Name(0); name != "root" {
		t.Errorf("uid 0 is %q", name)
	}
	if name := Name(3999999999); name != "3999999999" {
		t.Errorf("a uid without a name is %q", name)
	}
}
