// The system tests: their own module, so that what they need to drive peers
// never becomes a dependency of the product.
module bulwark.dev/bulwark/test

go 1.26.0

require (
	bulwark.dev/bulwark v0.0.0
	github.com/go-jose/go-jose/v4 v4.1.8
	github.com/google/go-cmp v0.7.0
	golang.org/x/net v0.60.0
)

replace bulwark.dev/bulwark => ../
