package app

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/gateway/compile"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

func newPolicy(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Check and explain policies without serving anything",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return badUse(errors.Join(cmd.Help(), errPrinted))
		},
	}
	cmd.AddCommand(newPolicyCheck(env), newPolicyExplain(env), newPolicyHashKey(env), newPolicyExportVAP(env), newPolicyTest(env))
	return cmd
}

func newPolicyCheck(env *Env) *cobra.Command {
	var unprotected bool
	cmd := &cobra.Command{
		Use:   "check [PATH...]",
		Short: "Read objects as the gateway would and say what is wrong with them",
		Long: `Read the objects in files and folders (default: the folder you are in) as the
gateway would, compile every route, and print what is wrong: file, line, field
and what was expected; then what would refuse requests, and why. Nothing is
contacted: key sets behind a URI are not fetched.

Exits 0 when everything would be served as asked for, and 2 otherwise.`,
		Example: "  bulwark policy check ./policies",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			snap, err := cluster.LoadFiles(args)
			if err != nil {
				return badUse(err)
			}
			table, report := compileOnly(env, snap, compile.Options{Unprotected: unprotected})
			if !report.OK() {
				var b strings.Builder
				for _, l := range report.Lines() {
					if l.Bad {
						_, _ = fmt.Fprintf(&b, "%s %s: %s=%s %s: %s\n", l.Object, l.Section, l.Condition, l.Status, l.Reason, l.Message)
					}
				}
				_, err := fmt.Fprint(env.Stderr, b.String())
				return badUse(errors.Join(errPrinted, err))
			}
			for _, w := range report.Warnings {
				_, _ = fmt.Fprintf(env.Stderr, "warning: %s\n", w)
			}
			_, err = fmt.Fprintf(env.Stdout, "%d listeners, %d rules, %d backends: all would be served as asked for\n",
				len(table.Listeners), len(table.Rules), len(table.Backends))
			if err != nil {
				return fmt.Errorf("print result: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&unprotected, "unprotected", false, "accept routes that no SecurityPolicy covers, as up --unprotected=allow does")
	return cmd
}

// compileOnly compiles a snapshot and builds every chain, connecting to
// nothing.
func compileOnly(env *Env, snap *cluster.Snapshot, opt compile.Options) (*ir.Table, *compile.Report) {
	build, stop := checker(env, quietLog())
	defer stop()
	table, report, _, _ := newJudge(opt, nil).judge(snap, build) // checking never fails
	return table, report
}

// apart places every Gateway at an address of its own, as their Services do in a
// cluster: two Gateways with one port do not meet there.
func apart(snap *cluster.Snapshot) func(*gwv1.Gateway) compile.Placement {
	ports := map[int32]uint16{}
	at := make(map[*gwv1.Gateway]string, len(snap.Gateways))
	for i, g := range snap.Gateways {
		n := i + 1
		at[g] = netip.AddrFrom4([4]byte{127, byte(n >> 16), byte(n >> 8), byte(n)}).String()
		for _, l := range g.Spec.Listeners {
			ports[l.Port] = uint16(l.Port) //nolint:gosec // G115: the API bounds ports
		}
	}
	for _, set := range snap.ListenerSets {
		for _, l := range set.Spec.Listeners {
			ports[l.Port] = uint16(l.Port) //nolint:gosec // G115: the API bounds ports
		}
	}
	return func(g *gwv1.Gateway) compile.Placement {
		return compile.Placement{
			Addresses: []gwv1.GatewayStatusAddress{{Type: new(gwv1.IPAddressType), Value: at[g]}}, Bind: at[g], Ports: ports,
		}
	}
}

// explain is compile.Explain, and says also which rules do not build: whether an
// expression compiles is known only then.
func explain(env *Env, snap *cluster.Snapshot, opt compile.Options, name string) (*compile.Explanation, error) {
	out, err := compile.Explain(input(snap), opt, name)
	if err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	_, report := compileOnly(env, snap, opt)
	for _, s := range report.Rules {
		for i := range out.Rules {
			if r := &out.Rules[i]; r.ID == s.ID && r.Refused == nil && s.Refused != "" {
				r.Refused = &ir.Refusal{Status: s.Status, Reason: s.Refused}
			}
		}
	}
	return out, nil
}

func newPolicyExplain(env *Env) *cobra.Command {
	var files []string
	var kubeconfig string
	var unprotected bool
	cmd := &cobra.Command{
		Use:   "explain ROUTE",
		Short: "Show what protects a route, field by field, and which policy each comes from",
		Long: `Show the SecurityPolicy in force for each rule of a route: every field, its value,
the policy and level it comes from (Gateway, listener, route or rule), and what
it overrides. ROUTE is [KIND/][NAMESPACE/]NAME.`,
		Example: `  bulwark policy explain shop/orders -f examples/shop
  bulwark policy explain shop/orders --kubeconfig ~/.kube/config`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if kubeconfig != "" && cmd.Flags().Changed("file") {
				return badUse(errors.New("-f and --kubeconfig: expected one of them, since the objects come from one place"))
			}
			read := func() (*cluster.Snapshot, error) { return cluster.LoadFiles(files) }
			if kubeconfig != "" {
				read = func() (*cluster.Snapshot, error) { return firstSnapshot(cmd.Context(), env, kubeconfig) }
			}
			snap, err := read()
			if err != nil {
				return badUse(err)
			}
			opt := compile.Options{Unprotected: unprotected}
			if kubeconfig != "" {
				opt.Place = apart(snap)
			}
			out, err := explain(env, snap, opt, args[0])
			if err != nil {
				return badUse(err)
			}
			if _, err := fmt.Fprint(env.Stdout, out.String()); err != nil {
				return fmt.Errorf("print explanation: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", []string{"."}, "file or folder with objects; may be repeated")
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "read the objects of this cluster in place of files")
	cmd.Flags().BoolVar(&unprotected, "unprotected", false, "explain as up --unprotected=allow would serve")
	return cmd
}

func newPolicyHashKey(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "hash-key",
		Short: "Make the salted hash of an API key, for a Secret",
		Long: `Read one API key from standard input (never from an argument: those show in
process lists) and print the value for the Secret's key "hash".`,
		Example: "  openssl rand -hex 32 | tee key.txt | bulwark policy hash-key",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			line, err := bufio.NewReader(env.Stdin).ReadString('\n')
			key := strings.TrimRight(line, "\r\n")
			if key == "" {
				return badUse(errors.Join(errors.New("read API key from standard input: nothing there"), err))
			}
			if len(key) < 16 {
				return badUse(errors.New("the key has fewer than 16 characters: a fast hash does not protect a key that can be guessed"))
			}
			salt := make([]byte, 16)
			if _, err := rand.Read(salt); err != nil {
				return fmt.Errorf("make salt: %w", err)
			}
			if _, err := fmt.Fprintln(env.Stdout, compile.HashKey([]byte(key), salt)); err != nil {
				return fmt.Errorf("print hash: %w", err)
			}
			return nil
		},
	}
}
