package ir

import "bulwark.dev/bulwark"

// Secret is bulwark.Secret: it never prints.
type Secret = bulwark.Secret
