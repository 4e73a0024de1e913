package audit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQueryField(t *testing.T) {
	for _, c := range []struct {
		uri, name string
		want      []string
	}{
		{"/api/v1/namespaces/a/pods/b/exec?command=sh&command=-c&command=cat+%2Fetc%2Fshadow&stdin=true", "command", []string{"sh", "-c", "cat /etc/shadow"}},
		{"/x?c%6fmmand=%73h", "command", []string{"sh"}},
		{"/x?dryRun=All", "dryRun", []string{"All"}},
		{"/x?fieldManager=a%26dryRun%3DAll", "dryRun", nil},
		{"/x?dryrun=All", "dryRun", nil},
		{"/x?a=1;dryRun=All", "dryRun", nil},
		{"/x?dryRun=%zz&dryRun=All", "dryRun", []string{"All"}},
		{"/x?=1&&dryRun", "dryRun", nil}, // empty and absent are the same
		{"/x", "dryRun", nil},
		{"", "dryRun", nil},
	} {
		f, err := ParseField("query." + c.name)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		f.Each(&Event{RequestURI: c.uri}, func(v Value) bool {
			if v.Text != "" {
				got = append(got, v.Text)
			}
			return true
		})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s of %s: %s", c.name, c.uri, diff)
		}
		if f.Body() {
			t.Errorf("%s needs no body", c.name)
		}
	}
	if _, err := ParseField("query."); err == nil {
		t.Error("query. has no name, and is taken")
	}
}
