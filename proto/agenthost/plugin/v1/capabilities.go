package pluginv1

import "slices"

// Promises says whether a plugin promises a capability for one of its task categories: for all of them, or for that one.
func (x *DescribeResponse) Promises(capability, category string, version int32) bool {
	if slices.Contains(x.GetCapabilities(), capability) {
		return true
	}
	return slices.ContainsFunc(x.GetCategoryCapabilities(), func(c *CategoryCapabilities) bool {
		return c.GetName() == category && c.GetVersion() == version && slices.Contains(c.GetCapabilities(), capability)
	})
}
