//go:build tools

// Package build pins the command kubenest builds from CRI-O 1.34.0.
package build

import (
	_ "github.com/cri-o/cri-o/cmd/crio"
)
