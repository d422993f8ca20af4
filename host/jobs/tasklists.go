package jobs

import "iter"

// chain is things in the order in which they came to it. They are linked by themselves: container/list has an element besides for each,
// and there are two for each task.
type chain[T any, P linked[T]] struct{ first, last *T }

// linked is what a chain can hold.
type linked[T any] interface {
	*T
	beside() *links[T]
}

type links[T any] struct{ previous, next *T }

func (l *links[T]) beside() *links[T] { return l }

func (c *chain[T, P]) push(one *T) {
	P(one).beside().previous = c.last
	if c.last == nil {
		c.first = one
	} else {
		P(c.last).beside().next = one
	}
	c.last = one
}

func (c *chain[T, P]) remove(one *T) {
	at := P(one).beside()
	if at.previous == nil {
		c.first = at.next
	} else {
		P(at.previous).beside().next = at.next
	}
	if at.next == nil {
		c.last = at.previous
	} else {
		P(at.next).beside().previous = at.previous
	}
	*at = links[T]{}
}

func (c *chain[T, P]) all() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for one := c.first; one != nil && yield(one); one = P(one).beside().next {
		}
	}
}

// queue is tasks in the order in which they are forgotten.
type queue = chain[Task, *Task]

// namesakes are the tasks whose jobs have one resource_meta, the oldest first: with an agent that has but one, that is all.
type namesakes = chain[namesake, *namesake]

// namesake is a task's place among those.
type namesake struct {
	links[namesake]
	meta key
	task *Task
	more *namesake // of the task
}

// enlist puts a task among the namesakes of a resource_meta.
func (t *Tasks) enlist(task *Task, meta ID) {
	count := 0
	for n := task.metas; n != nil; n = n.more {
		if count++; n.meta == meta.key() || count == maxNames {
			return
		}
	}
	task.metas = &namesake{meta: meta.key(), task: task, more: task.metas}
	same := t.metas[meta.key()]
	same.push(task.metas)
	t.metas[meta.key()] = same
}

// delist takes a task from among all its namesakes.
func (t *Tasks) delist(task *Task) {
	for n := task.metas; n != nil; n = n.more {
		same := t.metas[n.meta]
		if same.remove(n); same.first == nil {
			delete(t.metas, n.meta)
		} else {
			t.metas[n.meta] = same
		}
	}
	task.metas = nil
}

// named are the tasks whose jobs have a resource_meta, the oldest first.
func (t *Tasks) named(meta ID) iter.Seq[*Task] {
	return func(yield func(*Task) bool) {
		same := t.metas[meta.key()]
		for n := range same.all() {
			if !yield(n.task) {
				return
			}
		}
	}
}
