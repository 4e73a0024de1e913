// Package pki writes the keys, certificates and kubeconfigs of one throw-away
// cluster: ECDSA P-256 throughout, the layout that kubeadm's users know.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// KubeletClient is the common name the API server calls the kubelet with; the
// kubelet takes no other.
const KubeletClient = "kube-apiserver-kubelet-client"

// A certificate a cluster needs, issued to FILE.crt and FILE.key.
type leaf struct {
	file, name string
	groups     []string
	ips, names []string
}

// Config says which cluster the keys are for.
type Config struct {
	Dir       string    // written here; made when missing
	Node      string    // the node's name
	NodeIP    string    // also the address the API server is dialled at
	ServiceIP string    // the address of the Service kubernetes.default
	Now       time.Time // start of every certificate's life: a year, authorities ten
}

func (c Config) leaves() []leaf {
	return []leaf{
		{
			file: "apiserver", name: "kube-apiserver",
			ips: []string{"127.0.0.1", c.NodeIP, c.ServiceIP},
			names: []string{
				"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
				"kubernetes.default.svc.cluster.local",
			},
		},
		{file: "apiserver-kubelet-client", name: KubeletClient, groups: []string{"kubeadm:cluster-admins"}},
		{file: "kubelet", name: "system:node:" + c.Node, groups: []string{"system:nodes"}, ips: []string{c.NodeIP, "127.0.0.1"}, names: []string{c.Node}},
		{file: "admin", name: "kubernetes-admin", groups: []string{"system:masters"}},
		// One token for each controller costs seconds at start-up: the manager acts as a master instead.
		{file: "controllers", name: "system:kube-controller-manager", groups: []string{"system:masters"}},
		{file: "scheduler", name: "system:kube-scheduler"},
		{file: "node-services", name: "control:node-services", groups: []string{"system:masters"}},
	}
}

// Ensure writes everything a cluster needs into c.Dir, and leaves a directory
// that has it already as it is: a cluster started again over its own data
// keeps its keys. Kubeconfigs are named after their certificate: admin.kubeconfig.
func Ensure(c Config) error {
	if c.Dir == "" || c.Node == "" || c.NodeIP == "" || c.ServiceIP == "" || c.Now.IsZero() {
		return fmt.Errorf("pki: incomplete configuration %+v", c)
	}
	done := filepath.Join(c.Dir, "complete")
	if _, err := os.Stat(done); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pki: %w", err)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return fmt.Errorf("pki: %w", err)
	}
	root, err := newAuthority(c.Dir, "ca", c.Now)
	if err != nil {
		return err
	}
	front, err := newAuthority(c.Dir, "front-proxy-ca", c.Now)
	if err != nil {
		return err
	}
	for _, l := range c.leaves() {
		if err := root.issue(l); err != nil {
			return err
		}
	}
	if err := front.issue(leaf{file: "front-proxy-client", name: "front-proxy-client"}); err != nil {
		return err
	}
	if err := serviceAccountKey(c.Dir); err != nil {
		return err
	}
	for _, name := range []string{"admin", "controllers", "scheduler", "kubelet", "node-services"} {
		server := "https://" + net.JoinHostPort(c.NodeIP, "6443")
		if err := WriteKubeconfig(c.Dir, name, server, filepath.Join(c.Dir, name+".kubeconfig")); err != nil {
			return err
		}
	}
	return os.WriteFile(done, nil, 0o600)
}

// WriteKubeconfig writes a kubeconfig to path with the certificate name of dir
// inside it, for the API server reached at url, whatever address that is.
func WriteKubeconfig(dir, name, url, path string) error {
	read := func(file string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, file)) }
	ca, err := read("ca.crt")
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", name, err)
	}
	cert, err := read(name + ".crt")
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", name, err)
	}
	key, err := read(name + ".key")
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", name, err)
	}
	k := clientcmdapi.NewConfig()
	k.Clusters["control"] = &clientcmdapi.Cluster{Server: url, TLSServerName: "kubernetes", CertificateAuthorityData: ca}
	k.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	k.Contexts["control"] = &clientcmdapi.Context{Cluster: "control", AuthInfo: name}
	k.CurrentContext = "control"
	if err := clientcmd.WriteToFile(*k, path); err != nil {
		return fmt.Errorf("kubeconfig %s: %w", name, err)
	}
	return nil
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
	now  time.Time
}

func newAuthority(dir, name string, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	number, err := serial()
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	t := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Minute), NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	// Not every reader of the controller manager's signing key takes PKCS#8.
	ec, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("authority %s: %w", name, err)
	}
	if err := writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der); err != nil {
		return nil, err
	}
	if err := writePEM(filepath.Join(dir, name+".key"), "EC PRIVATE KEY", ec); err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key, dir: dir, now: now}, nil
}

func (a *authority) issue(l leaf) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", l.file, err)
	}
	number, err := serial()
	if err != nil {
		return fmt.Errorf("certificate %s: %w", l.file, err)
	}
	t := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: l.name, Organization: l.groups},
		NotBefore: a.now.Add(-time.Minute), NotAfter: a.now.AddDate(1, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, DNSNames: l.names,
	}
	for _, s := range l.ips {
		ip := net.ParseIP(s)
		if ip == nil {
			return fmt.Errorf("certificate %s: %q is no IP address", l.file, s)
		}
		t.IPAddresses = append(t.IPAddresses, ip)
	}
	if len(l.ips)+len(l.names) > 0 {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("certificate %s: %w", l.file, err)
	}
	if err := writePEM(filepath.Join(a.dir, l.file+".crt"), "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(filepath.Join(a.dir, l.file+".key"), key)
}

// serviceAccountKey writes the pair that signs and checks ServiceAccount tokens.
func serviceAccountKey(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("service account key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("service account key: %w", err)
	}
	if err := writePEM(filepath.Join(dir, "sa.pub"), "PUBLIC KEY", public); err != nil {
		return err
	}
	return writeKey(filepath.Join(dir, "sa.key"), key)
}

func serial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
}

func writeKey(path string, key crypto.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writePEM(path, "PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
