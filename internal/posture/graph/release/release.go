// Package release knows the ends of life of Kubernetes releases and the versions
// of cluster components that have known vulnerabilities, from catalog/advisories.
package release

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/util/version"
)

// Data is all that is known. It is not changed once it is loaded.
type Data struct {
	ends   map[string]time.Time // by minor, as "1.30"
	known  map[string][]*Advisory
	source string
}

// Advisory is one vulnerability of one component.
type Advisory struct {
	ID string `json:"id"`
	// CVEs are its other names; an advisory without one goes by ID.
	CVEs      []string `json:"cves,omitempty"`
	Component string   `json:"component"`
	// OS limits it to nodes of one operating system.
	OS string `json:"os,omitempty"`
	// Ranges are the versions that have it, each from the first that does to the
	// first that does not.
	Ranges []Range `json:"ranges"`
	// Critical says that it gives an attacker a component that rules the cluster.
	Critical bool `json:"critical,omitempty"`
	// What says in a few words what goes wrong, where somebody wrote it down.
	What string `json:"what,omitempty"`
}

// Range is the versions from Since to before Fixed.
type Range struct {
	Since string `json:"since"`
	Fixed string `json:"fixed"`

	since, fixed *version.Version
}

// Name is what people call it.
func (a *Advisory) Name() string {
	if len(a.CVEs) > 0 {
		return a.CVEs[0]
	}
	return a.ID
}

type advisoryFile struct {
	Source     string      `json:"source"`
	Licence    string      `json:"licence"`
	Changes    string      `json:"changes"`
	Advisories []*Advisory `json:"advisories"`
}

type releaseFile struct {
	Source   []string `json:"source"`
	Releases []struct {
		Minor string `json:"minor"`
		End   string `json:"end"`
	} `json:"releases"`
}

// Load reads kubernetes.json and components.json.
func Load(files fs.FS) (*Data, error) {
	d := &Data{ends: map[string]time.Time{}, known: map[string][]*Advisory{}}
	var releases releaseFile
	if err := read(files, "kubernetes.json", &releases); err != nil {
		return nil, err
	}
	for _, r := range releases.Releases {
		end, err := time.Parse(time.DateOnly, r.End)
		if err != nil {
			return nil, fmt.Errorf("read the end of Kubernetes %s: %w", r.Minor, err)
		}
		d.ends[r.Minor] = end
	}
	var advisories advisoryFile
	if err := read(files, "components.json", &advisories); err != nil {
		return nil, err
	}
	d.source = advisories.Source
	for _, a := range advisories.Advisories {
		for i := range a.Ranges {
			r := &a.Ranges[i]
			var err error
			if r.since, err = version.ParseSemantic(r.Since); err != nil {
				return nil, fmt.Errorf("read the versions of %s: %w", a.ID, err)
			}
			if r.fixed, err = version.ParseSemantic(r.Fixed); err != nil {
				return nil, fmt.Errorf("read the versions of %s: %w", a.ID, err)
			}
		}
		d.known[a.Component] = append(d.known[a.Component], a)
	}
	return d, nil
}

func read(files fs.FS, name string, into any) error {
	raw, err := fs.ReadFile(files, name)
	if err != nil {
		return fmt.Errorf("read advisories: %w", err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("read advisories in %s: %w", name, err)
	}
	return nil
}

// Version is one that was found somewhere.
type Version struct {
	*version.Version
	// Vendor is what somebody who builds it anew added, as "-eks-1234": fixes may
	// have been put in that the number does not show.
	Vendor string
}

var form = regexp.MustCompile(`^v?(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(-(?:alpha|beta|rc)\.?\d{0,8}(?:\.\d{1,8})*)?(.*)$`)

var dotless = regexp.MustCompile(`^(-(?:alpha|beta|rc))(\d+)$`)

// Parse reads a version as components and image tags write it: "v1.30.2-eks-1",
// "3.5.15-0", "v1.31.0-rc.1". Two numbers are not enough.
func Parse(text string) (Version, error) {
	m := form.FindStringSubmatch(text)
	if m == nil {
		return Version{}, fmt.Errorf("%.60q is no version of three numbers", text)
	}
	plain := m[1] + "." + m[2] + "." + m[3] + dotless.ReplaceAllString(m[4], "$1.$2")
	v, err := version.ParseSemantic(plain)
	if err != nil {
		return Version{}, fmt.Errorf("read the version %.60q: %w", text, err)
	}
	vendor := m[5]
	if !strings.ContainsFunc(vendor, unicode.IsLetter) {
		vendor = "" // how often its own people packed it, as etcd's 3.5.15-0
	}
	return Version{v, vendor}, nil
}

// Minor gives "1.30".
func (v Version) Minor() string { return fmt.Sprintf("%d.%d", v.Major(), v.Version.Minor()) }

// Hit is a vulnerability that a version has.
type Hit struct {
	*Advisory
	Fixed *version.Version
}

// Known gives the vulnerabilities of a component's version, the newest first. os
// may be "".
func (d *Data) Known(component string, v Version, os string) []Hit {
	var out []Hit
	for _, a := range d.known[component] {
		if a.OS != "" && a.OS != os {
			continue
		}
		for i := range a.Ranges {
			if r := &a.Ranges[i]; !v.LessThan(r.since) && v.LessThan(r.fixed) {
				out = append(out, Hit{a, r.fixed})
				break
			}
		}
	}
	slices.SortFunc(out, func(a, b Hit) int { return -compareNames(a.Name(), b.Name()) })
	return out
}

// compareNames orders "CVE-2024-9042" before "CVE-2024-10220".
func compareNames(a, b string) int {
	var ay, an, by, bn int
	_, errA := fmt.Sscanf(a, "CVE-%d-%d", &ay, &an)
	_, errB := fmt.Sscanf(b, "CVE-%d-%d", &by, &bn)
	switch {
	case errA != nil || errB != nil:
		if (errA == nil) != (errB == nil) { // ids without CVE come first
			if errA != nil {
				return -1
			}
			return 1
		}
		return compare(a, b)
	case ay != by:
		return compare(ay, by)
	}
	return compare(an, bn)
}

func compare[T int | string](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Components lists those with advisories, sorted.
func (d *Data) Components() []string {
	var out []string
	for c := range d.known {
		out = append(out, c)
	}
	slices.Sort(out)
	return out
}

// Count is how many advisories there are.
func (d *Data) Count() int {
	n := 0
	for _, l := range d.known {
		n += len(l)
	}
	return n
}

// End gives when a minor release of Kubernetes stopped, or will stop, to be fixed.
func (d *Data) End(minor string) (time.Time, bool) {
	t, ok := d.ends[minor]
	return t, ok
}

// Oldest and Newest give the bounds of the table, as minor numbers of 1.
func (d *Data) Oldest() uint { return d.bound(func(a, b uint) bool { return a < b }) }

// Newest is the last minor release that the table has.
func (d *Data) Newest() uint { return d.bound(func(a, b uint) bool { return a > b }) }

func (d *Data) bound(better func(a, b uint) bool) uint {
	best, first := uint(0), true
	for minor := range d.ends {
		v, err := version.ParseGeneric(minor)
		if err == nil && (first || better(v.Minor(), best)) {
			best, first = v.Minor(), false
		}
	}
	return best
}
