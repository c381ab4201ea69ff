//go:build tools

// Package tools keeps the commands of this build among the requirements.
package tools

import _ "sigs.k8s.io/kind"
