package pss

import (
	"k8s.io/pod-security-admission/policy"

	"bulwark.dev/bulwark"
)

// about is what we say of an upstream check.
type about struct {
	id                      string
	title, why, remediation string
	severity                bulwark.Severity
	places                  places
}

// places are the fields that a check is about: of the pod specification, of each
// container, and the lists whose elements are looked at one by one. The first
// field is the one to set where none is there.
type places struct {
	pod, container []string
	annotations    []string // prefixes
	volumes        string   // field of a volume, "." for the volume itself
	sysctls, ports bool
}

// catalog is keyed by the upstream id.
var catalog = map[policy.CheckID]about{ //nolint:gochecknoglobals // constant
	"allowPrivilegeEscalation": {
		id: "allow-privilege-escalation", title: "Processes may gain more rights than their parent", severity: bulwark.SeverityMedium,
		why:         "A program with the setuid bit in the image turns any break-in into root within the container.",
		remediation: "Set securityContext.allowPrivilegeEscalation: false on every container.",
		places:      places{container: []string{"securityContext.allowPrivilegeEscalation"}},
	},
	"appArmorProfile": {
		id: "app-armor-profile", title: "AppArmor is switched off or replaced", severity: bulwark.SeverityMedium,
		why:         "Without the runtime's AppArmor profile a process may mount, trace and write where the profile forbids it.",
		remediation: "Use the profile type RuntimeDefault or Localhost, or leave it out.",
		places: places{
			pod: []string{"securityContext.appArmorProfile.type"}, container: []string{"securityContext.appArmorProfile.type"},
			annotations: []string{"container.apparmor.security.beta.kubernetes.io/"},
		},
	},
	"capabilities_baseline": {
		id: "capabilities", title: "Capabilities beyond the default ones are added", severity: bulwark.SeverityHigh,
		why:         "Many capabilities, such as SYS_ADMIN or NET_ADMIN, are a step away from control of the node.",
		remediation: "Take the capabilities out of securityContext.capabilities.add.",
		places:      places{container: []string{"securityContext.capabilities.add"}},
	},
	"capabilities_restricted": {
		id: "capabilities", title: "Capabilities are not dropped", severity: bulwark.SeverityMedium,
		why:         "What a container does not need, whoever breaks into it can use: raw packets, other users' files, device nodes.",
		remediation: "Drop ALL in securityContext.capabilities.drop, and add back NET_BIND_SERVICE at most.",
		places:      places{container: []string{"securityContext.capabilities"}},
	},
	"hostNamespaces": {
		id: "host-namespaces", title: "Pod shares namespaces of its node", severity: bulwark.SeverityHigh,
		why:         "With the node's network, processes or shared memory a pod reads and signals what is not its own.",
		remediation: "Take hostNetwork, hostPID and hostIPC away.",
		places:      places{pod: []string{"hostNetwork", "hostPID", "hostIPC"}},
	},
	"hostPathVolumes": {
		id: "host-path-volumes", title: "Pod mounts a folder of its node", severity: bulwark.SeverityHigh,
		why:         "A folder of the node holds other pods' data, credentials of the kubelet or the socket of the runtime.",
		remediation: "Use a persistentVolumeClaim, a configMap or an emptyDir instead of hostPath.",
		places:      places{volumes: "hostPath"},
	},
	"hostPorts": {
		id: "host-ports", title: "Container takes a port of its node", severity: bulwark.SeverityMedium,
		why:         "A port of the node is reached past Services and most network policies.",
		remediation: "Take hostPort away and put a Service in front.",
		places:      places{ports: true},
	},
	"hostProbesAndHostLifecycle": {
		id: "host-probes", title: "Probe or hook calls another host", severity: bulwark.SeverityMedium,
		why:         "The kubelet sends the request from the node, so the pod's author reaches whatever the node reaches.",
		remediation: "Take host out of the probe or hook; the kubelet asks the pod itself then.",
		places: places{container: []string{
			"livenessProbe.httpGet.host", "livenessProbe.tcpSocket.host", "readinessProbe.httpGet.host", "readinessProbe.tcpSocket.host",
			"startupProbe.httpGet.host", "startupProbe.tcpSocket.host", "lifecycle.postStart.httpGet.host", "lifecycle.postStart.tcpSocket.host",
			"lifecycle.preStop.httpGet.host", "lifecycle.preStop.tcpSocket.host",
		}},
	},
	"privileged": {
		id: "privileged", title: "Container is privileged", severity: bulwark.SeverityCritical,
		why:         "A privileged container has all devices and capabilities: whoever breaks it owns the node.",
		remediation: "Take securityContext.privileged away; add the one capability that is needed, if any.",
		places:      places{container: []string{"securityContext.privileged"}},
	},
	"procMount": {
		id: "proc-mount", title: "Container sees /proc unmasked", severity: bulwark.SeverityHigh,
		why:         "The masked paths of /proc change and reveal the kernel of the node.",
		remediation: "Leave securityContext.procMount out.",
		places:      places{container: []string{"securityContext.procMount"}},
	},
	"procMount_restricted": {
		id: "proc-mount", title: "Container sees /proc unmasked", severity: bulwark.SeverityHigh,
		why:         "The masked paths of /proc reveal the kernel of the node, in a user namespace too.",
		remediation: "Leave securityContext.procMount out.",
		places:      places{container: []string{"securityContext.procMount"}},
	},
	"restrictedVolumes": {
		id: "volume-types", title: "Pod uses volumes of a type that is not for applications", severity: bulwark.SeverityMedium,
		why:         "Volumes of these types reach storage or the node past the claims that the cluster's owners control.",
		remediation: "Use configMap, csi, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected or secret volumes.",
		places:      places{volumes: "."},
	},
	"runAsNonRoot": {
		id: "run-as-non-root", title: "Containers may run as root", severity: bulwark.SeverityMedium,
		why:         "Root in a container is root on the node after any flaw in the runtime or the kernel.",
		remediation: "Set runAsNonRoot: true in the pod's securityContext, and nowhere false.",
		places:      places{pod: []string{"securityContext.runAsNonRoot"}, container: []string{"securityContext.runAsNonRoot"}},
	},
	"runAsUser": {
		id: "run-as-user", title: "Containers run as user 0", severity: bulwark.SeverityMedium,
		why:         "Root in a container is root on the node after any flaw in the runtime or the kernel.",
		remediation: "Set runAsUser to another number than 0, or leave it to the image.",
		places:      places{pod: []string{"securityContext.runAsUser"}, container: []string{"securityContext.runAsUser"}},
	},
	"seLinuxOptions": {
		id: "se-linux-options", title: "SELinux user, role or type is set", severity: bulwark.SeverityMedium,
		why:         "Another SELinux type takes the walls between containers, and to the node, away.",
		remediation: "Leave seLinuxOptions out, or set a type for containers and no user or role.",
		places: places{
			pod: []string{"securityContext.seLinuxOptions"}, container: []string{"securityContext.seLinuxOptions"},
		},
	},
	"seccompProfile_baseline": {
		id: "seccomp-profile", title: "Seccomp is switched off", severity: bulwark.SeverityMedium,
		why:         "Without the profile a process may make the system calls that most container escapes begin with.",
		remediation: "Use the profile type RuntimeDefault or Localhost.",
		places: places{
			pod: []string{"securityContext.seccompProfile.type"}, container: []string{"securityContext.seccompProfile.type"},
			annotations: []string{"seccomp.security.alpha.kubernetes.io/pod", "container.seccomp.security.alpha.kubernetes.io/"},
		},
	},
	"seccompProfile_restricted": {
		id: "seccomp-profile", title: "Seccomp profile is not set", severity: bulwark.SeverityMedium,
		why:         "A cluster whose kubelets set no default runs the container without any seccomp profile.",
		remediation: "Set seccompProfile type RuntimeDefault in the pod's securityContext.",
		places:      places{pod: []string{"securityContext.seccompProfile.type"}, container: []string{"securityContext.seccompProfile.type"}},
	},
	"sysctls": {
		id: "sysctls", title: "Pod sets kernel parameters that are not safe", severity: bulwark.SeverityMedium,
		why:         "A parameter that is not kept apart for each pod changes the node for all of them.",
		remediation: "Take the parameter out of securityContext.sysctls.",
		places:      places{sysctls: true},
	},
	"windowsHostProcess": {
		id: "windows-host-process", title: "Pod runs as a process of its Windows node", severity: bulwark.SeverityCritical,
		why:         "A host process has the node's file system, network and services.",
		remediation: "Take windowsOptions.hostProcess away.",
		places: places{
			pod: []string{"securityContext.windowsOptions.hostProcess"}, container: []string{"securityContext.windowsOptions.hostProcess"},
		},
	},
}
