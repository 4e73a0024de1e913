package plane

import (
	"context"
	"fmt"
	"net/url"

	"go.etcd.io/etcd/server/v3/embed"
)

// EtcdURL is where the cluster's etcd listens, inside the cluster's network namespace.
const EtcdURL = "http://127.0.0.1:2379"

const etcdPeerURL = "http://127.0.0.1:2380"

// StartEtcd starts one etcd member over dir in this process and returns when it
// takes requests. stop ends it and waits; failed yields at most one error, when
// the member ends by itself. Nothing is synced to disk: the cluster is throw-away.
func StartEtcd(ctx context.Context, dir string) (stop func(), failed <-chan error, err error) {
	client, err := url.Parse(EtcdURL)
	if err != nil {
		return nil, nil, fmt.Errorf("etcd client address: %w", err)
	}
	peer, err := url.Parse(etcdPeerURL)
	if err != nil {
		return nil, nil, fmt.Errorf("etcd peer address: %w", err)
	}
	c := embed.NewConfig()
	c.Dir = dir
	c.LogLevel = "fatal" // its errors come back to the caller; what it logs at the end is noise
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.UnsafeNoFsync = true
	c.QuotaBackendBytes = 2 << 30
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, nil, fmt.Errorf("start etcd over %s: %w", dir, err)
	}
	select {
	case <-e.Server.ReadyNotify():
		return e.Close, e.Err(), nil
	case err := <-e.Err():
		e.Close()
		return nil, nil, fmt.Errorf("start etcd over %s: %w", dir, err)
	case <-ctx.Done():
		e.Close()
		return nil, nil, fmt.Errorf("start etcd over %s: %w", dir, ctx.Err())
	}
}
