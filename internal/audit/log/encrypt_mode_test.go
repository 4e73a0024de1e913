package log

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/audit/vault"
)

// encryptedMode makes the tests of this package keep encrypted logs.
const encryptedMode = "BULWARK_AUDIT_LOG_ENCRYPTED"

func isEncryptedMode() bool { return os.Getenv(encryptedMode) != "" }

// modeKeys are the keys of the logs of tests: none, but in encrypted mode.
func modeKeys() vault.Keys {
	if isEncryptedMode() {
		return someKeys()
	}
	return vault.Keys{}
}

// modeHead is the length of the head of a write-ahead file.
func modeHead() int {
	h := head{locked: isEncryptedMode()}
	return int(h.length())
}

func keyFrom(random string) vault.Key {
	k, err := vault.NewKey(strings.NewReader(random))
	if err != nil {
		panic(err)
	}
	return k
}

func keysOf(list ...vault.Key) vault.Keys {
	keys, err := vault.NewKeys(list...)
	if err != nil {
		panic(err)
	}
	return keys
}

func oldKey() vault.Key { return keyFrom("0123456789abcdefghijklmnopqrstuv") }
func newerKey() vault.Key {
	return keyFrom("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345")
}
func someKeys() vault.Keys { return keysOf(oldKey()) }

// TestAgainEncrypted runs the tests of what a crash, a bad disk and a bad hand do once
// more, with a log that is encrypted.
func TestAgainEncrypted(t *testing.T) {
	if isEncryptedMode() {
		return // this is that run
	}
	t.Parallel()
	again := []string{
		"TestTruncatedAnywhere", "TestLostSectors", "TestFlippedAnywhere", "TestQuarantine", "TestQuarantineHead",
		"TestQuarantineSealed", "TestMissingFile", "TestUnacknowledgedTail", "TestSealInterrupted", "TestRetainInterrupted", "TestViewBesideWriter", "TestKilled",
		"TestRetainInterrupted", "TestHolds", "TestShred",
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.v", "-test.run", "^("+strings.Join(again, "|")+")$")
	cmd.Env = append(os.Environ(), encryptedMode+"=1", crashRounds+"=4")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	for _, name := range again {
		if !strings.Contains(string(out), "--- PASS: "+name+" (") {
			t.Errorf("%s did not run:\n%s", name, out)
		}
	}
}

// anyPlain reports whether some file below dir has a text in it.
func anyPlain(t *testing.T, dir string, texts ...string) (found []string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == reserveName {
			return err
		}
		files++
		content, err := os.ReadFile(path)
		for _, text := range texts {
			if strings.Contains(string(content), text) {
				found = append(found, filepath.Base(path)+": "+text)
			}
		}
		return err
	})
	if err != nil || files == 0 {
		t.Fatalf("%d files, %v", files, err)
	}
	return found
}
