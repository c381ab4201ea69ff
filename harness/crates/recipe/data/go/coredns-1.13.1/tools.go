//go:build tools

// Package build pins the command kubenest builds from CoreDNS 1.13.1.
package build

import _ "github.com/coredns/coredns"
