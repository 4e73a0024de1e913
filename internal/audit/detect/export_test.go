package detect

// Forget lets tests outside of the package use one engine for many runs.
func (g *Engine) Forget() { g.forget() }
