package v1alpha1

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDefault(t *testing.T) {
	seconds := func(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }
	ten, one := int64(10), int64(10485760)
	tests := []struct {
		name     string
		in, want SecurityPolicySpec
	}{
		{"nothing set stays unset", SecurityPolicySpec{}, SecurityPolicySpec{}},
		{
			"jwt",
			SecurityPolicySpec{Authentication: &Authentication{AnyOf: []Authenticator{{JWT: &JWT{Issuer: "i"}}}}},
			SecurityPolicySpec{Authentication: &Authentication{AnyOf: []Authenticator{{JWT: &JWT{
				Issuer: "i", Claims: &ClaimNames{Name: "sub", Groups: "groups", Roles: "roles"},
				Header: "Authorization", ClockSkew: seconds(30 * time.Second),
			}}}}},
		},
		{
			"jwt keeps what is set, and zero skew is set",
			SecurityPolicySpec{Authentication: &Authentication{AnyOf: []Authenticator{{JWT: &JWT{
				Claims: &ClaimNames{Roles: "r"}, Header: "X-Token", ClockSkew: seconds(0),
			}}}}},
			SecurityPolicySpec{Authentication: &Authentication{AnyOf: []Authenticator{{JWT: &JWT{
				Claims: &ClaimNames{Name: "sub", Groups: "groups", Roles: "r"}, Header: "X-Token", ClockSkew: seconds(0),
			}}}}},
		},
		{
			"basic is named after its policy",
			SecurityPolicySpec{Authentication: &Authentication{AnyOf: []Authenticator{{Basic: &Basic{}}, {Basic: &Basic{Realm: "r"}}}}},
			SecurityPolicySpec{Authentication: &Authentication{AnyOf: []Authenticator{{Basic: &Basic{Realm: "orders"}}, {Basic: &Basic{Realm: "r"}}}}},
		},
		{
			"limits",
			SecurityPolicySpec{RateLimits: []RateLimit{{Name: "a"}, {Name: "b", Burst: 7, Overflow: &Overflow{Queue: &Queue{Depth: 1}}}}},
			SecurityPolicySpec{RateLimits: []RateLimit{
				{Name: "a", Burst: 1, Scope: "local", Overflow: &Overflow{Reject: &Reject{}}},
				{Name: "b", Burst: 7, Scope: "local", Overflow: &Overflow{Queue: &Queue{Depth: 1}}},
			}},
		},
		{
			"lock-out",
			SecurityPolicySpec{LockOut: &LockOut{Attempts: 3}},
			SecurityPolicySpec{LockOut: &LockOut{Attempts: 3, Window: seconds(5 * time.Minute), Duration: seconds(15 * time.Minute), By: "both"}},
		},
		{
			"request and cors",
			SecurityPolicySpec{Request: &RequestForm{}, CORS: &CORS{}},
			SecurityPolicySpec{Request: &RequestForm{MaxBodyBytes: &one}, CORS: &CORS{MaxAge: seconds(5 * time.Second)}},
		},
		{
			"a body limit stays",
			SecurityPolicySpec{Request: &RequestForm{MaxBodyBytes: &ten}},
			SecurityPolicySpec{Request: &RequestForm{MaxBodyBytes: &ten}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &SecurityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "orders"}, Spec: tt.in}
			before := p.DeepCopy()
			got := Default(p)
			if diff := cmp.Diff(tt.want, got.Spec); diff != "" {
				t.Errorf("Default (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, p); diff != "" {
				t.Errorf("Default changed its argument:\n%s", diff)
			}
			if diff := cmp.Diff(got, Default(got)); diff != "" {
				t.Errorf("Default twice is not Default once:\n%s", diff)
			}
		})
	}
	if Default(nil) != nil {
		t.Error("Default(nil) is not nil")
	}
}

func TestParseRate(t *testing.T) {
	good := []struct {
		in     string
		count  int
		period time.Duration
	}{
		{"1/s", 1, time.Second},
		{"600/m", 600, time.Minute},
		{"30/h", 30, time.Hour},
		{"999999999/d", 999999999, 24 * time.Hour},
	}
	for _, tt := range good {
		count, period, err := ParseRate(tt.in)
		if err != nil || count != tt.count || period != tt.period {
			t.Errorf("ParseRate(%q) = %d, %v, %v; want %d, %v", tt.in, count, period, err, tt.count, tt.period)
		}
	}
	for _, in := range []string{"", "/", "5", "5/", "/s", "0/s", "05/s", "-1/s", "+1/s", "1.5/s", "1/S", "1/ms", " 1/s", "1/s ", "1/s\n", "1000000000/s", "1/s/m", "١/s"} {
		if count, period, err := ParseRate(in); err == nil {
			t.Errorf("ParseRate(%q) = %d, %v; want an error", in, count, period)
		}
	}
}
