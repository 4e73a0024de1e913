// Package app wires one cluster: it reads the command line, enters the cluster's
// namespaces, starts its parts in order and ends them. The parts that need
// k8s.io/kubernetes are handed in, so that this package compiles without it.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// Parts is what comes from Kubernetes' own source; package plane has them.
type Parts struct {
	Version     string // of Kubernetes
	StartEtcd   func(ctx context.Context, dir string) (stop func(), failed <-chan error, err error)
	APIServer   func(ctx context.Context, args []string) error
	Controllers func(ctx context.Context, manager, scheduler []string) error
	Kubectl     func(args []string)
}

const usage = `control: a Kubernetes control plane, one node and a service proxy in one program

  control up  [flags]                    run until interrupted
  control run [flags] -- COMMAND...      run COMMAND inside the cluster, return its status
  control apiserver stop|start|restart --data-dir DIR
  control kubectl ...                    kubectl
  control version
`

// Run is the whole program but for the exit: it takes the arguments after the
// program's name and gives the exit status.
func Run(args []string, p Parts, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		_, _ = io.WriteString(stderr, usage)
		return 2
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	status, err := dispatch(args, p, stdout, stderr, log)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "control:", err)
	}
	return status
}

func dispatch(args []string, p Parts, stdout, stderr io.Writer, log *slog.Logger) (int, error) {
	signals := make(chan os.Signal, 4)
	switch args[0] {
	case "up", "run":
		c, err := parse(args[0], args[1:], stderr)
		if err != nil {
			return 2, err
		}
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
		status, err := outside(c, signals, log)
		return orOne(status, err), err
	case insideCommand:
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
		status, err := inside(p, signals, stdout, log)
		return orOne(status, err), err
	case apiserverCommand, controllersCommand:
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err := component(ctx, args, p)
		return orOne(0, err), err
	case "apiserver":
		err := askAPIServer(args[1:], stderr)
		return orOne(0, err), err
	case pauseCommand:
		signal.Notify(signals, syscall.SIGTERM)
		<-signals
		return 0, nil
	case "kubectl":
		p.Kubectl(args[1:])
		return 0, nil
	case "version":
		_, err := fmt.Fprintln(stdout, p.Version)
		return orOne(0, err), err
	default:
		_, _ = io.WriteString(stderr, usage)
		return 2, fmt.Errorf("unknown command %q", args[0])
	}
}

func orOne(status int, err error) int {
	if err != nil && status == 0 {
		return 1
	}
	return status
}

// The commands that the program runs itself with.
const (
	insideCommand      = "__inside"
	apiserverCommand   = "__apiserver"
	controllersCommand = "__controllers"
	pauseCommand       = "__pause"
)

// component runs kube-apiserver or the controllers in this process.
func component(ctx context.Context, args []string, p Parts) error {
	if args[0] == apiserverCommand {
		return p.APIServer(ctx, args[1:])
	}
	lists, err := split(args[1:])
	if err != nil {
		return err
	}
	return p.Controllers(ctx, lists[0], lists[1])
}

var errLists = errors.New("want two lists of flags, each ended by --")

// join and split put the flags of two programs on one command line. A nil list
// stays nil: that program is not wanted.
func join(lists ...[]string) []string {
	var out []string
	for _, l := range lists {
		if l != nil {
			out = append(out, "+")
		}
		out = append(append(out, l...), "--")
	}
	return out
}

func split(args []string) ([2][]string, error) {
	var lists [2][]string
	n := 0
	for _, a := range args {
		switch {
		case n == len(lists):
			return lists, errLists
		case a == "--":
			n++
		case a == "+" && lists[n] == nil:
			lists[n] = []string{}
		default:
			lists[n] = append(lists[n], a)
		}
	}
	if n != len(lists) {
		return lists, errLists
	}
	return lists, nil
}
