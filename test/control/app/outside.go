package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"bulwark.dev/bulwark/test/control/netns"
	"bulwark.dev/bulwark/test/control/pki"
)

const configVariable = "CONTROL_INSIDE"

// outside runs in the caller's namespaces: it opens the published listeners
// there, then starts the program again in the cluster's own.
func outside(c *config, signals <-chan os.Signal, log *slog.Logger) (status int, err error) {
	ctx := context.Background()
	if c.DataDir == "" {
		if c.DataDir, err = os.MkdirTemp("", "control-"); err != nil {
			return 0, fmt.Errorf("data directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(c.DataDir)) }()
	}
	if err := os.MkdirAll(c.DataDir, 0o755); err != nil {
		return 0, fmt.Errorf("data directory: %w", err)
	}
	unlock, err := lock(c.DataDir)
	if err != nil {
		return 0, err
	}
	defer unlock()
	c.SetUsers = os.Getuid() == 0
	files, err := c.listen(ctx)
	if err != nil {
		return 0, err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return 0, fmt.Errorf("pass configuration on: %w", err)
	}
	log.LogAttrs(ctx, slog.LevelDebug, "entering namespaces", slog.String("data", c.DataDir))
	return netns.Enter(ctx, []string{insideCommand}, []string{configVariable + "=" + string(text)}, files, signals)
}

// listen opens every published address.
func (c *config) listen(ctx context.Context) ([]*os.File, error) {
	var files []*os.File
	open := func(host, target string) (string, error) {
		f, addr, err := netns.Listen(ctx, host)
		if err != nil {
			return "", err
		}
		files = append(files, f)
		c.Forwards = append(c.Forwards, forward{FD: 2 + len(files), Target: target})
		return addr, nil
	}
	if c.PublishAPI != "" {
		addr, err := open(c.PublishAPI, net.JoinHostPort(netns.NodeIP, strconv.Itoa(apiPort)))
		if err != nil {
			return nil, err
		}
		c.PublishedAPI = addr
	}
	for _, p := range c.Publish {
		host, target, _ := strings.Cut(p, "=")
		if _, err := open(host, target); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// publishKubeconfig writes DATA-DIR/kubeconfig: the published address when there
// is one, else the one inside. It gives the file's path.
func (c *config) publishKubeconfig() (string, error) {
	addr := c.PublishedAPI
	if addr == "" {
		addr = net.JoinHostPort(netns.NodeIP, strconv.Itoa(apiPort))
	}
	path := filepath.Join(c.DataDir, "kubeconfig")
	return path, pki.WriteKubeconfig(c.pki(), "admin", "https://"+addr, path)
}

func (c *config) pki() string { return filepath.Join(c.DataDir, "pki") }
