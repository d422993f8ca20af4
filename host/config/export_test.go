package config

// Blind keeps the system from notifying w, as a network file system does.
func (w *Watcher) Blind() { w.blind = true }

// OnLook has f called after each look, on the goroutine of Run.
func (w *Watcher) OnLook(f func()) { w.looked = f }

// OnNotify has the system refuse to notify w with the error that f gives, if any, whenever w asks for it.
func (w *Watcher) OnNotify(f func() error) { w.refused = f }
