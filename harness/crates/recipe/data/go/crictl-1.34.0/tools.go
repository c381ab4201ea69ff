//go:build tools

// Package build pins the command kubenest builds from cri-tools 1.34.0.
package build

import _ "sigs.k8s.io/cri-tools/cmd/crictl"
