package sandbox

// MissingOf is what a machine with these cannot grant.
func MissingOf(g Granted) []string { return missing(g) }
