package jobs

import "iter"

// queue is tasks in the order in which they came to it. They are linked by themselves, which takes no memory besides.
type queue struct {
	first, last *Task
	length      int
}

func (q *queue) push(t *Task) {
	t.previous, t.next = q.last, nil
	if q.last == nil {
		q.first = t
	} else {
		q.last.next = t
	}
	q.last = t
	q.length++
}

func (q *queue) remove(t *Task) {
	if t.previous == nil {
		q.first = t.next
	} else {
		t.previous.next = t.next
	}
	if t.next == nil {
		q.last = t.previous
	} else {
		t.next.previous = t.previous
	}
	t.previous, t.next = nil, nil
	q.length--
}

// namesakes are the tasks whose jobs have one resource_meta, the oldest first: with an agent that has but one, that is all.
type namesakes struct{ first, last *namesake }

// namesake is a task's place among those.
type namesake struct {
	meta           key
	task           *Task
	previous, next *namesake
	more           *namesake // of the task
}

// enlist puts a task among the namesakes of a resource_meta.
func (t *Tasks) enlist(task *Task, meta ID) {
	count := 0
	for n := task.metas; n != nil; n = n.more {
		if count++; n.meta == meta.key() || count == maxNames {
			return
		}
	}
	same := t.metas[meta.key()]
	n := &namesake{meta: meta.key(), task: task, previous: same.last, more: task.metas}
	if same.last == nil {
		same.first = n
	} else {
		same.last.next = n
	}
	same.last = n
	t.metas[meta.key()] = same
	task.metas = n
}

// delist takes a task from among all its namesakes.
func (t *Tasks) delist(task *Task) {
	for n := task.metas; n != nil; n = n.more {
		same := t.metas[n.meta]
		if n.previous == nil {
			same.first = n.next
		} else {
			n.previous.next = n.next
		}
		if n.next == nil {
			same.last = n.previous
		} else {
			n.next.previous = n.previous
		}
		if same.first == nil {
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
		for n := t.metas[meta.key()].first; n != nil; n = n.next {
			if !yield(n.task) {
				return
			}
		}
	}
}
