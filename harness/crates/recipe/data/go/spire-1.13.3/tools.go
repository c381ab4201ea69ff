//go:build tools

// Package build pins the commands kubenest builds from SPIRE 1.13.3.
package build

import (
	_ "github.com/spiffe/spire/cmd/spire-agent"
	_ "github.com/spiffe/spire/cmd/spire-server"
)
